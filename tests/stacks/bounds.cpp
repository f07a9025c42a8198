// Which stack an address lies in, and whose it is: a program may register stacks of its own with
// the handler library.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/classify.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/handler/ranges.hpp>
#include <growstack/handler/report.hpp>

#include "support/address_of.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/pools.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <atomic>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstring>
#include <thread>

using namespace growstack;
using namespace growstack::testing;

namespace {

int make_writable(handler::Step step) noexcept {
  void* const begin = reinterpret_cast<void*>(step.begin);
  return mprotect(begin, step.end - step.begin, PROT_READ | PROT_WRITE) == 0 ? 0 : errno;
}

constexpr handler::Operations operations_of_the_program{
    .plan =
        [](const handler::Range&, const handler::SlotRecord& slot,
           std::uintptr_t address) noexcept {
          return handler::Step{handler::page_down(address), handler::view(slot).limit};
        },
    .commit = [](const handler::Range&, const handler::SlotRecord&,
                 handler::Step step) noexcept { return make_writable(step); },
    .on_overflow = handler::report_overflow};

/// A stack that the program registered itself. Its owner is no object of the library.
class StackOfTheProgram {
 public:
  explicit StackOfTheProgram(void* owner) {
    void* const memory =
        mmap(nullptr, 2 * handler::range_alignment, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require(memory != MAP_FAILED, "mmap");
    const std::uintptr_t begin = (address_of(memory) + handler::range_alignment - 1) /
                                 handler::range_alignment * handler::range_alignment;
    handler::Range* range = nullptr;
    require(handler::add_range({.begin = begin,
                                .size = handler::range_alignment,
                                .slot_size = MiB,
                                .operations = &operations_of_the_program,
                                .owner = owner,
                                .kind = "of the program"},
                               range) == 0,
            "add_range");
    base_ = begin + MiB;
    const std::uintptr_t limit = base_ - 64 * KiB;
    require(make_writable({limit, base_}) == 0, "mprotect");
    handler::publish(*range, 0,
                     {.base = base_,
                      .floor = floor(),
                      .guard = guard(),
                      .limit = limit,
                      .largest_step = MiB,
                      .name = "of the program"});
    range->slots[0].charged_bytes = 500 * KiB;  // whatever its owner keeps there
  }

  [[nodiscard]] std::uintptr_t base() const { return base_; }
  [[nodiscard]] std::uintptr_t guard() const { return base_ - MiB; }
  [[nodiscard]] std::uintptr_t floor() const { return guard() + handler::page_size(); }

  /// Runs body() there.
  void run(void (*body)()) const {
    ucontext_t here{};
    ucontext_t there{};
    getcontext(&there);
    there.uc_stack = {
        .ss_sp = reinterpret_cast<void*>(floor()), .ss_flags = 0, .ss_size = base_ - floor()};
    there.uc_link = &here;
    makecontext(&there, body, 0);
    swapcontext(&here, &there);
  }

 private:
  std::uintptr_t base_ = 0;
};

/// Runs body(stack) in a child that has a stack of its own, whose owner is null or some object.
template <class Body>
int end_with_stack_of_the_program(bool has_owner, const Body& body) {
  return end_of_child([&] {
    const Stack the_library_is_in_use;
    static int somebody = 0;
    return body(StackOfTheProgram(has_owner ? &somebody : nullptr));
  });
}

}  // namespace

TEST_CASE("a stack that the program registered itself is not one that the library trims") {
  for (const bool has_owner : {false, true}) {
    CHECK(end_with_stack_of_the_program(has_owner, [](const StackOfTheProgram& own) {
            static std::error_code told;
            static std::size_t wrong = 1;
            own.run([] {
              wrong = descend(500 * KiB);
              told = Stack::trim_current();
            });
            return told == std::errc::invalid_argument && wrong == 0 ? 0 : 1;
          }) == 0);
  }
}

TEST_CASE("a stack that the program registered itself cannot be adopted, and is never ended") {
  for (const bool has_owner : {false, true}) {
    CHECK(end_with_stack_of_the_program(has_owner, [](const StackOfTheProgram& own) {
            const std::string told = error_of([&] {
              Stack adopted = Stack::adopt(reinterpret_cast<const void*>(own.floor()));
              adopted.release();
            });
            return contains(told, "lies in no stack") ? 0 : 1;
          }) == 0);
    CHECK(end_with_stack_of_the_program(has_owner, [](const StackOfTheProgram& own) {
            no_core();
            growstack::detail::end_released(reinterpret_cast<void*>(own.base()));
            return 0;
          }) == killed_by(SIGABRT));
  }
}

TEST_CASE("a stack that the program registered itself has bounds, and memory ahead of need") {
  for (const bool has_owner : {false, true}) {
    CHECK(end_with_stack_of_the_program(has_owner, [](const StackOfTheProgram& own) {
            const auto bounds_at = [](std::uintptr_t address) {
              return stack_bounds(reinterpret_cast<const void*>(address));
            };
            const auto before = bounds_at(own.guard());
            const auto lies_right = [&](std::size_t committed) {
              const auto bounds = bounds_at(own.base() - 1);
              return bounds && address_of(bounds->base) == own.base() &&
                     address_of(bounds->limit) == own.base() - committed &&
                     address_of(bounds->floor) == own.floor() &&
                     address_of(bounds->guard) == own.guard();
            };
            if (!before || bounds_at(own.base()) || !lies_right(64 * KiB)) {
              return 1;
            }
            void* const deep = reinterpret_cast<void*>(own.base() - 200 * KiB);
            if (ensure_committed(deep, 300 * KiB) != std::errc::invalid_argument ||
                ensure_committed(deep, 200 * KiB)) {
              return 2;
            }
            std::memset(deep, 1, 200 * KiB);
            return lies_right(200 * KiB) ? 0 : 3;
          }) == 0);
  }
}

STRATEGIES_WHERE(traits.own_address_space && (traits.growth_events || !traits.limit_moves),
                 "the bounds of a stack tell the same limit as the Stack, however deep it is") {
  for (const GrowthPolicy& policy :
       {GrowthPolicy(), GrowthPolicy::throughput(), GrowthPolicy::pooled()}) {
    Stack stack({.reserve = 16 * MiB, .policy = policy, .strategy = Of::strategy});
    const auto told = [&] { return stack_bounds(stack.floor())->limit; };
    CHECK(told() == stack.limit());
    for (const std::size_t depth : {100 * KiB, 300 * KiB, 3 * MiB, 10 * MiB}) {
      CAPTURE(depth);
      void* told_there = nullptr;
      call(stack, [&] {
        descend(depth);
        told_there = current_stack_bounds()->limit;
      });
      CHECK(told_there == stack.limit());
      CHECK(told() == stack.limit());
    }
    if (Of::traits.trims) {
      CHECK_FALSE(stack.trim_below(static_cast<char*>(stack.base()) - 300 * KiB));
      CHECK(told() == stack.limit());
      CHECK_FALSE(stack.trim());
      CHECK(told() == stack.limit());
    }
  }
}

POOLS_WHERE(traits.growth_events || !traits.limit_moves,
            "the bounds of a pooled stack tell the same limit as the Stack, tenant after tenant") {
  StackPool pool(options_for(Of::strategy));
  for (int tenancy = 0; tenancy < 3; ++tenancy) {
    Stack stack = pool.acquire();
    CHECK(stack_bounds(stack.floor())->limit == stack.limit());
    call(stack, [] { descend(500 * KiB); });
    CHECK(stack_bounds(stack.floor())->limit == stack.limit());
  }
}

namespace {

sigjmp_buf way_out;
std::atomic<bool> may_jump = false;
volatile sig_atomic_t jumps = 0;

/// Calls look() on a stack while signals come, and leaves each of their handlers by a jump.
template <class Look>
void be_left_by_jumps(const Look& look) {
  constexpr int enough = 100;
  if (sigsetjmp(way_out, 1) != 0) {
    jumps = jumps + 1;
  }
  may_jump = true;
  while (jumps < enough) {
    look();
  }
  may_jump = false;
}

/// Returns how a child ends whose looks at a stack were left by jumps, and which then ends the
/// stack.
template <class Look>
int end_after_jumps(const Look& look) {
  return end_of_child([&] {
    struct sigaction action {};
    action.sa_handler = [](int) {
      if (may_jump.exchange(false)) {
        siglongjmp(way_out, 1);
      }
    };
    sigaction(SIGUSR1, &action, nullptr);
    std::atomic<bool> over = false;
    std::thread sender([&, looker = pthread_self()] {
      while (!over) {
        pthread_kill(looker, SIGUSR1);
        std::this_thread::yield();
      }
    });
    {
      Stack stack;
      call(stack, [&] { be_left_by_jumps([&] { look(stack); }); });
    }
    over = true;
    sender.join();
    return 0;
  });
}

}  // namespace

TEST_CASE("a look at a stack that a signal handler leaves by a jump does not keep the stack") {
  CHECK(end_after_jumps([](const Stack& stack) {
          static_cast<void>(stack_bounds(stack.floor()));
          static_cast<void>(current_stack_bounds());
        }) == 0);
}

TEST_CASE("a trim that a signal handler leaves by a jump does not keep the stack") {
  CHECK(end_after_jumps([](const Stack&) { static_cast<void>(Stack::trim_current()); }) == 0);
}

TEST_CASE("bounds are those of one stack, also while stacks end and begin at their addresses") {
  std::atomic<bool> over = false;
  std::atomic<const void*> place = nullptr;
  std::thread changer([&] {
    for (int round = 0; round < 2000; ++round) {
      // Of another size each time, so that geometry of two tenants does not fit together.
      const Stack stack({.reserve = (1 + static_cast<std::size_t>(round % 3)) * 64 * KiB,
                         .strategy = Strategy::in_handler});
      place = static_cast<const char*>(stack.base()) - 1;
    }
    over = true;
  });
  std::size_t torn = 0;
  while (!over) {
    const void* const at = place;
    if (const auto bounds = stack_bounds(at); bounds) {
      const std::size_t reserve = address_of(bounds->base) - address_of(bounds->floor);
      torn += reserve % (64 * KiB) != 0 || reserve / (64 * KiB) > 3 ||
                      bounds->limit > bounds->base || bounds->guard > at || at >= bounds->base
                  ? 1U
                  : 0U;
    }
  }
  changer.join();
  CHECK(torn == 0);
}
