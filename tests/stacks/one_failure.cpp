// One system call fails, each call of an operation in its turn. Whatever the operation makes of it,
// all that is counted is right afterwards, and the next stack works.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/handler.hpp>
#include <growstack/stack_pool.hpp>

#include "memory/account.hpp"
#include "memory/residency.hpp"

#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/pools.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/supervised.hpp"
#include "support/units.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <string>
#include <utility>
#include <vector>

using namespace growstack;
using namespace growstack::testing;

namespace {

// How a child of fails_in_turn() ends.
constexpr int all_is_well = 7;
constexpr int had_fewer_calls = 8;

/// Which calls of an operation fail.
enum class Fails : std::uint8_t { one, that_and_all_later };

/// Lets one system call of an operation fail, or that and all later ones.
class OneFailure {
 public:
  explicit OneFailure(int number, Fails fails) : number_(number), fails_(fails) {}

  /// Runs an operation, whose call of that number (from 1) fails. What it throws is an answer, too.
  template <class Operation>
  void during(const Operation& operation) {
    left_ = number_;
    try {
      operation();
    } catch (const std::exception&) {
    }
    left_ = 0;
  }
  [[nodiscard]] bool happened() const { return happened_; }

  [[nodiscard]] Answer answer() {
    if (left_ == 0 || (left_ > 1 && --left_ > 0)) {
      return {};
    }
    happened_ = true;
    left_ = fails_ == Fails::one ? 0 : 1;
    return {.by_kernel = false, .error = ENOMEM};
  }

 private:
  int number_;
  Fails fails_;
  std::atomic<int> left_{0};  ///< the next call that fails, from 1; 0: none fails
  std::atomic<bool> happened_{false};
};

using Operation = std::function<void(OneFailure&)>;

/// Runs `operation` in a child of its own for each system call that it makes. The operation ends
/// the child by require() if something is wrong. Returns how many calls have failed.
int fails_in_turn(const Operation& operation, Fails fails = Fails::one) {
  for (int number = 1;; ++number) {
    CAPTURE(number);
    const int end = end_of_child([&] {
      OneFailure failure(number, fails);
      supervise(
          {{SYS_mmap},
           {SYS_munmap},
           {SYS_mprotect},
           {SYS_madvise},
           {SYS_process_madvise},
           {SYS_munlock},
           {SYS_mlock2},
           {SYS_ioctl},
           {SYS_openat}},
          [&](const seccomp_data&) { return failure.answer(); },
          [&] {
            operation(failure);
            _exit(failure.happened() ? all_is_well : had_fewer_calls);
          });
      return 0;
    });
    if (end != all_is_well) {
      CHECK(end == had_fewer_calls);
      return number - 1;
    }
  }
}

void require_right_account() {
  require(process_account().used() == process_counters().committed,
          "charged is what is committed: " + std::to_string(process_account().used()) + ", not " +
              std::to_string(process_counters().committed));
}

void require_nothing_left() {
  require(process_counters().stacks == 0, "no stack is left");
  require(process_counters().arenas == 0, "no arena is left");
  require(process_account().used() == 0, "nothing is left charged");
}

bool grows(Stack& stack) {
  return call(stack, [] { return descend(200 * KiB); }) == 0;
}

// ---- single stacks ------------------------------------------------------------------------------

/// Returns options of stacks of which an arena has few.
StackOptions few_in_an_arena(const Traits& of) {
  return {.reserve = MiB, .guard = 20 * MiB, .strategy = of.strategy};
}

/// Makes stacks until an arena has room for just one more, in a slot that had a stack before or
/// had none.
std::vector<Stack> all_but_one(const StackOptions& options, bool used_before) {
  std::vector<Stack> stacks;
  stacks.reserve(100);
  const auto fill = [&](std::size_t most) {
    while (stacks.size() < most && process_counters().arenas < 2) {
      stacks.emplace_back(options);
    }
  };
  fill(100);
  stacks.pop_back();  // it lies in the second arena
  const std::size_t room = stacks.size();
  if (used_before) {
    stacks.pop_back();
  } else {
    stacks.clear();
    fill(room - 1);
  }
  return stacks;
}

/// Makes a stack, trims it and ends it while a call fails. Then makes more than the arena has room
/// for.
void use_a_single_stack(const Traits& of, bool used_before, std::size_t budget_left,
                        OneFailure& failure) {
  const StackOptions options = few_in_an_arena(of);
  std::vector<Stack> others = all_but_one(options, used_before);
  const std::size_t used = process_account().used();
  const ProcessCounters before = process_counters();
  set_process_budget(budget_left > SIZE_MAX - used ? SIZE_MAX : used + budget_left);
  failure.during([&] {
    Stack stack(options);
    static_cast<void>(stack.trim());
  });
  set_process_budget(SIZE_MAX);
  const ProcessCounters after = process_counters();
  require(after.stacks == before.stacks && after.arenas == before.arenas &&
              after.reserved == before.reserved && after.committed == before.committed,
          "the counters are as before");
  require(process_account().used() == used, "the charge is as before");
  for (int more = 0; more < 3; ++more) {
    others.emplace_back(options);
    require(grows(others.back()), "the next stack works");
  }
  others.clear();
  require_nothing_left();
}

/// Trims and ends a stack that has grown, while a call fails.
void end_a_grown_stack(const Traits& of, bool trims_only, OneFailure& failure) {
  const StackOptions options = few_in_an_arena(of);
  Stack other(options);
  {
    Stack stack(options);
    require(grows(stack), "the stack grows");
    const std::size_t most = process_account().used();
    failure.during([&] {
      static_cast<void>(stack.trim());
      if (!trims_only) {
        const Stack ended = std::move(stack);
      }
    });
    require(process_account().used() <= most, "no more is charged");
    if (of.growth_events) {
      require_right_account();
    }
    require(!trims_only || grows(stack), "a stack that was trimmed grows");
  }
  Stack next(options);
  require(grows(next) && grows(other), "the next stack works");
  const Stack ended[] = {std::move(next), std::move(other)};
}

}  // namespace

#define ONE_FAILURE(promise) STRATEGIES_WHERE(traits.own_address_space, promise)

ONE_FAILURE(
    "whichever system call of a stack fails once, what is counted is as before, and the next "
    "stacks of its arena work") {
  if (sanitized) {
    return skip("a sanitizer makes system calls of its own");
  }
  for (const bool used_before : {false, true}) {
    CAPTURE(used_before);
    CHECK(fails_in_turn([&](OneFailure& failure) {
            use_a_single_stack(Of::traits, used_before, SIZE_MAX, failure);
          }) > 0);
  }
}

ONE_FAILURE("a stack that the budget refuses makes no system call that could fail") {
  if (sanitized) {
    return skip("a sanitizer makes system calls of its own");
  }
  for (const bool used_before : {false, true}) {
    CAPTURE(used_before);
    // The error's message and a second look at the handler ask the system for other things.
    fails_in_turn([&](OneFailure& failure) {
      use_a_single_stack(Of::traits, used_before, 4 * KiB, failure);
    });
  }
}

ONE_FAILURE(
    "whichever system call fails once as a stack is trimmed or ends, the charge is what is "
    "committed, and the stack and the next one work") {
  if (sanitized) {
    return skip("a sanitizer makes system calls of its own");
  }
  for (const bool trims_only : {false, true}) {
    CAPTURE(trims_only);
    fails_in_turn([&](OneFailure& failure) { end_a_grown_stack(Of::traits, trims_only, failure); });
  }
}

// ---- trims --------------------------------------------------------------------------------------

namespace {

std::size_t resident_below_limit(const Stack& stack) {
  const auto floor = reinterpret_cast<std::uintptr_t>(stack.floor());
  return resident(floor, stack.reserved() - stack.committed());
}

/// Requires that nothing is left below the limit of a stack, and that it grows from there by
/// events.
void require_empty_below_limit(const Traits& of, Stack& stack) {
  require(resident_below_limit(stack) == 0, "nothing is left below the limit");
  const bool is_shallow = stack.committed() < 100 * KiB;
  const std::uint32_t before = stack.counters().growth_faults;
  require(grows(stack), "the stack grows");
  require(!of.growth_events || !is_shallow || stack.counters().growth_faults > before,
          "a touch below the limit is an event");
}

/// Trims a stack that has grown while a call fails, and then once more.
void trim_again(const Traits& of, OneFailure& failure) {
  Stack stack({.reserve = MiB, .strategy = of.strategy});
  require(grows(stack), "the stack grows");
  std::error_code error;
  failure.during([&] { error = stack.trim(); });
  // grows_down may not learn what there is to give back, which is no error.
  const bool reads_maps = of.limit_moves && !of.growth_events;
  require(error || reads_maps || stack.resident() == 0, "without an error all is given back");
  require(!stack.trim() && stack.resident() == 0, "the next trim gives all back");
  require_empty_below_limit(of, stack);
}

/// Gives a pool's stack back that has grown, and that its tenant trims. A call fails in the trim,
/// or as the stack comes back. The tenant after the next one gets it.
void use_for_three_tenants(const Traits& of, bool fails_in_trim, OneFailure& failure) {
  StackPool pool(options_for(of.strategy));
  const auto use = [&](const auto& trim, const auto& end) {
    Stack stack = pool.acquire();
    require(grows(stack), "the stack grows");
    trim(stack);
    end([&] { const Stack ended = std::move(stack); });
  };
  const auto as_usual = [](const auto& end) { end(); };
  if (fails_in_trim) {
    use([&](Stack& stack) { failure.during([&] { static_cast<void>(stack.trim()); }); }, as_usual);
  } else {
    use([](Stack&) {}, [&](const auto& end) { failure.during(end); });
    const Stack second = pool.acquire();
  }
  Stack third = pool.acquire();
  require_empty_below_limit(of, third);
  require(pool.statistics().created == 1, "it is the same stack");
  const Stack ended = std::move(third);
}

}  // namespace

STRATEGIES_WHERE(traits.own_address_space&& traits.trims,
                 "a trim that failed is tried again by the next one") {
  if (sanitized) {
    return skip("a sanitizer makes system calls of its own");
  }
  for (const Fails fails : {Fails::one, Fails::that_and_all_later}) {
    CAPTURE(fails);
    CHECK(fails_in_turn([](OneFailure& failure) { trim_again(Of::traits, failure); }, fails) > 0);
  }
}

POOLS_WHERE(traits.trims, "what a trim could not take is gone before a pool gives the stack out") {
  if (sanitized) {
    return skip("a sanitizer makes system calls of its own");
  }
  for (const bool fails_in_trim : {false, true}) {
    CAPTURE(fails_in_trim);
    for (const Fails fails : {Fails::one, Fails::that_and_all_later}) {
      CAPTURE(fails);
      fails_in_turn(
          [&](OneFailure& failure) { use_for_three_tenants(Of::traits, fails_in_trim, failure); },
          fails);
    }
  }
}

// ---- threads ------------------------------------------------------------------------------------

ONE_STRATEGY(Strategy::in_handler,
             "whichever system call of a Thread fails once, trim() leaves nothing of its stack") {
  if (sanitized) {
    return skip("a sanitizer makes system calls of its own");
  }
  const StackOptions options{.reserve = MiB, .strategy = Strategy::in_handler};
  CHECK(fails_in_turn([&](OneFailure& failure) {
          failure.during([&] { Thread(options, [] {}).join(); });
          growstack::trim();
          require_nothing_left();
        }) > 0);
}

// ---- pools --------------------------------------------------------------------------------------

namespace {

std::size_t committed_of(const std::vector<Stack>& stacks) {
  std::size_t bytes = 0;
  for (const Stack& stack : stacks) {
    bytes += stack.committed();
  }
  return bytes;
}

/// Acquires stacks, gives half of them back and trims the pool, while a call fails.
void use_a_pool(const Traits& of, OneFailure& failure) {
  PoolOptions options = options_for(of.strategy);
  options.reserve = 64 * KiB;
  options.guard = 16 * GiB;  // so that an arena has few stacks
  StackPool pool(options);
  std::vector<Stack> stacks = acquire(pool, 2);
  stacks.reserve(20);
  failure.during([&] {
    for (int count = 0; count < 9; ++count) {
      stacks.push_back(pool.acquire());
    }
    stacks.resize(2);
    pool.trim();
    stacks.push_back(pool.acquire());
  });
  const PoolStatistics figures = pool.statistics();
  require(figures.live == stacks.size(), "no stack is lost");
  require(figures.committed ==
              committed_of(stacks) +
                  (figures.cached + figures.cold) * (figures.live == 0 ? 0 : stacks[0].committed()),
          "charged is what is committed");
  require_right_account();
  while (stacks.size() < 20) {
    stacks.push_back(pool.acquire());
    require(call(stacks.back(), [] { return descend(30 * KiB); }) == 0, "the next stack works");
  }
  stacks.clear();
  pool.trim();
  require(stacks_of(pool.statistics()) == 0, "no stack is left");
  require(pool.statistics().committed == 0, "nothing is left charged");
  require_nothing_left();
}

/// Makes a pool while a call fails.
void make_a_pool(const Traits& of, OneFailure& failure) {
  const PoolOptions options = options_for(of.strategy);
  { const Stack first({.reserve = MiB, .strategy = of.strategy}); }  // starts the handler
  failure.during([&] { const StackPool pool(options); });
  require_nothing_left();
  StackPool pool(options);
  Stack stack = pool.acquire();
  require(grows(stack), "the next pool works");
  const Stack ended = std::move(stack);
}

}  // namespace

EVERY_POOL(
    "whichever system call of a pool fails once, no stack is lost, and the charge is what is "
    "committed") {
  if (sanitized) {
    return skip("a sanitizer makes system calls of its own");
  }
  CHECK(fails_in_turn([](OneFailure& failure) { use_a_pool(Of::traits, failure); }) > 0);
}

EVERY_POOL("whichever system call fails once as a pool is made, nothing is left of it") {
  if (sanitized) {
    return skip("a sanitizer makes system calls of its own");
  }
  CHECK(fails_in_turn([](OneFailure& failure) { make_a_pool(Of::traits, failure); }) > 0);
}

// ---- the handler --------------------------------------------------------------------------------

namespace {

/// Runs make() in a child, while the handler is uninstalled just after make() has reserved address
/// space, and cannot be installed again. The child ends with `all_is_well` if make() failed, and
/// afterwards nothing is left and check() says that all works.
template <class Prepare, class Make>
int end_without_handler(const Traits& of, const Prepare& prepare, const Make& make) {
  return end_of_child([&] {
    // Starts threads that no supervisor keeps from ending.
    { const Stack first({.reserve = MiB, .strategy = of.strategy}); }
    growstack::trim();
    std::atomic<bool> is_watched{false};
    std::atomic<bool> is_lost{false};
    const auto answer = [&](const seccomp_data& asked) -> Answer {
      if (asked.nr == SYS_munmap && is_watched && !is_lost) {
        is_lost = handler::uninstall() == 0;
      }
      return {.by_kernel = asked.nr == SYS_munmap || !is_lost, .error = ENOMEM};
    };
    supervise({{SYS_munmap}, {SYS_rt_sigaction}}, answer, [&] {
      auto prepared = prepare();
      is_watched = true;
      const std::string refused = error_of([&] { make(prepared); });
      require(is_lost, "the handler was uninstalled");
      require(!refused.empty(), "that is an error");
      is_watched = false;
      is_lost = false;
      require_nothing_left();
      make(prepared);
      _exit(all_is_well);
    });
    return 0;
  });
}

}  // namespace

ONE_FAILURE("nothing is left of a stack if the handler is lost while the stack is made") {
  if (sanitized) {
    return skip("a sanitizer makes system calls of its own");
  }
  CHECK(end_without_handler(
            Of::traits, [] { return 0; },
            [](int) {
              Stack stack({.reserve = MiB, .strategy = Of::strategy});
              require(grows(stack), "a stack works");
            }) == all_is_well);
}

EVERY_POOL("nothing is left of a stack of a pool if the handler is lost while the stack is made") {
  if (sanitized) {
    return skip("a sanitizer makes system calls of its own");
  }
  const auto empty_pool = [] {
    StackPool pool(options_for(Of::strategy));
    pool.trim();
    return pool;
  };
  CHECK(end_without_handler(Of::traits, empty_pool, [](StackPool& pool) {
          Stack stack = pool.acquire();
          require(grows(stack), "a stack works");
        }) == all_is_well);
}

// ---- the monitor's bell ------------------------------------------------------------------------

namespace {

/// Uninstalls the handler while somebody else reads the page that serves as the monitor's bell,
/// as soon as the library begins to ring it. Returns 7 if that comes to an end.
int end_of_child_with_a_reader_of_the_bell() {
  return end_of_child([] {
    bool is_watched = false;
    const auto read_the_bell = [&](const seccomp_data& asked) {
      if (is_watched) {
        char byte = 0;
        const iovec mine{.iov_base = &byte, .iov_len = 1};
        const iovec bell{.iov_base = reinterpret_cast<void*>(asked.args[0]), .iov_len = 1};
        static_cast<void>(process_vm_readv(getpid(), &mine, 1, &bell, 1, 0));
      }
      return Answer{};
    };
    supervise({{SYS_munlock}}, read_the_bell, [&] {
      { const Stack first({.reserve = MiB, .strategy = Strategy::userfault}); }
      growstack::trim();
      is_watched = true;
      require(handler::uninstall() == 0, "the handler is uninstalled");
      is_watched = false;
      Stack next({.reserve = MiB, .strategy = Strategy::userfault});
      require(grows(next), "the next stack works");
      _exit(all_is_well);
    });
    return 0;
  });
}

}  // namespace

ONE_STRATEGY(Strategy::userfault, "the monitor ends also if others touch its bell meanwhile") {
  if (sanitized) {
    return skip("a sanitizer makes system calls of its own");
  }
  CHECK(end_of_child_with_a_reader_of_the_bell() == all_is_well);
}

// ---- what was given back is not touched again ---------------------------------------------------

namespace {

/// Maps a page, as another thread might, where the first munmap(2) of a reservation has made room,
/// and lets the next madvise(2) fail. Returns 7 if the page is still there afterwards.
int end_of_child_with_a_stranger() {
  return end_of_child([] {
    bool is_watched = false;
    std::uintptr_t hole = 0;
    void* stranger = MAP_FAILED;
    const auto watch = [&](const seccomp_data& asked) {
      if (is_watched && asked.nr == SYS_munmap && hole == 0) {
        hole = asked.args[0];
      } else if (is_watched && asked.nr == SYS_madvise && hole != 0 && stranger == MAP_FAILED) {
        stranger = mmap(reinterpret_cast<void*>(hole), 4 * KiB, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        return Answer{.by_kernel = false, .error = EPERM};
      }
      return Answer{};
    };
    supervise({{SYS_munmap}, {SYS_madvise}}, watch, [&] {
      { const Stack first({.reserve = MiB}); }  // starts the handler
      is_watched = true;
      const std::string refused = error_of([] { Stack({.reserve = 512 * MiB}); });
      is_watched = false;
      unsigned char there = 0;
      const bool is_there = stranger != MAP_FAILED && mincore(stranger, 4 * KiB, &there) == 0;
      _exit(!refused.empty() && is_there ? 7 : 1);
    });
    return 0;
  });
}

}  // namespace

TEST_CASE("a reservation that fails unmaps nothing twice, because others may have memory there") {
  if (sanitized) {
    return skip("a sanitizer unmaps memory of its own");
  }
  CHECK(end_of_child_with_a_stranger() == 7);
}
