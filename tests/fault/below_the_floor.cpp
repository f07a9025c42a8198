// A touch below the floor of the running stack is overflow of that stack, if it is used up, or if
// its guard or a slot without a stack lies there. Otherwise it is about what lies there.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/handler.hpp>
#include <growstack/stack_pool.hpp>

#include "support/address_of.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/recursion.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <sys/mman.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>

using namespace growstack;
using namespace growstack::testing;

namespace {

constexpr std::size_t guard = 4 * KiB;
constexpr std::size_t small_reserve = 64 * KiB;

StackOptions small_stack(const Traits& of, const char* name) {
  return {.reserve = small_reserve,
          .guard = guard,
          .policy = {.initial_commit = 4 * KiB, .headroom = 0},
          .strategy = of.strategy,
          .name = name};
}

/// Returns the number that a test gave to its scenario.
std::size_t given_bytes() {
  return std::strtoull(std::getenv("GROWSTACK_TEST_BYTES"), nullptr, 10);
}

Ended run_with_bytes(const std::string& what, const Traits& of, std::size_t bytes) {
  setenv("GROWSTACK_TEST_BYTES", std::to_string(bytes).c_str(), 1);
  return run_scenario_of(what, of);
}

/// Writes to an address of the running stack, far from the stack pointer.
void probe(std::uintptr_t address) { *reinterpret_cast<volatile char*>(address) = 1; }

/// Calls a function in a frame that has jumped to given_bytes() below the guard.
void jump_the_guard(std::uintptr_t floor) {
  at_stack_pointer(floor - guard - given_bytes(), [] {
    volatile char here = 1;
    keep(&here);
  });
}

/// Uses the running stack down to its floor, and then jumps its guard.
void use_up_and_jump() {
  const std::uintptr_t floor = address_of(current_stack_bounds().value().floor);
  if (floor < GROWSTACK_HERE) {
    touch_in_one_jump(floor);
  }
  jump_the_guard(floor);
}

/// Makes a stack below which nothing may be touched. What the kernel has put there would be written
/// to, and no fault would tell. The handler has started before, so that its memory is elsewhere.
Stack stack_above_nothing(const StackOptions& options) {
  { const Stack first({.reserve = MiB, .strategy = options.strategy}); }
  constexpr std::size_t hole = 512 * MiB;
  void* const room =
      mmap(nullptr, hole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  munmap(room, hole);  // the kernel puts the next mapping there
  Stack stack(options);
  if (!describe(options.strategy)->keeps_reservation) {
    return stack;  // it lies at the upper end of a large hole
  }
  constexpr std::size_t far = 2 * MiB;
  void* const below = static_cast<char*>(stack.floor()) - guard - far;
  require(mmap(below, far, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) ==
              below,
          "nothing lies below the stack");
  return stack;
}

void check_overflow_of(const std::string& name, const Ended& ended, const Traits& of) {
  CAPTURE(ended.err);
  CHECK(ended.signal != 0);
  CHECK((ended.signal == SIGSEGV || ended.signal == of.grows_by));
  CHECK(ended.err.starts_with("growstack: stack overflow: thread"));
  CHECK(contains(ended.err.substr(0, ended.err.find('\n')), "stack \"" + name + "\""));
}

}  // namespace

// ---- a frame that jumps the guard ---------------------------------------------------------------

namespace {

int jump_from_the_lowest_slot(const Traits& of) {
  no_core();
  Stack stack = stack_above_nothing(small_stack(of, "jumper"));
  call(stack, use_up_and_jump);
  return 0;
}
const ScenarioOfEach<jump_from_the_lowest_slot> jumps_from_the_lowest_slot(
    "jump from the lowest slot");

int jump_into_a_closed_slot(const Traits& of) {
  no_core();
  std::optional<Stack> below(small_stack(of, "below"));
  Stack stack(small_stack(of, "jumper"));
  below.reset();
  call(stack, use_up_and_jump);
  return 0;
}
const ScenarioOfEach<jump_into_a_closed_slot> jumps_into_a_closed_slot("jump into a closed slot");

int jump_of_a_thread(const Traits& of) {
  no_core();
  StackOptions options = small_stack(of, "jumper");
  options.reserve = MiB;
  Stack stack = stack_above_nothing(options);
  Thread(std::move(stack), use_up_and_jump).join();
  return 0;
}
const ScenarioOfEach<jump_of_a_thread> jumps_of_a_thread("jump of a thread");

int jump_of_a_pooled_stack(const Traits& of) {
  no_core();
  StackPool pool({.reserve = small_reserve,
                  .guard = guard,
                  .policy = {.initial_commit = 4 * KiB, .headroom = 0},
                  .strategy = of.strategy});
  const Stack lowest = pool.acquire();
  Stack stack = pool.acquire("jumper");
  require(lowest.floor() < stack.floor(), "another stack lies below");
  call(stack, [] {
    const std::uintptr_t floor = address_of(current_stack_bounds().value().floor);
    probe(floor);  // so that the stack is used up
    // Into the reserve of the other stack, which is not committed.
    probe(floor - guard - small_reserve / 2);
  });
  return 0;
}
const ScenarioOfEach<jump_of_a_pooled_stack> jumps_of_a_pooled_stack("jump of a pooled stack");

int jump_in_a_forked_child(const Traits& of) {
  no_core();
  Stack stack = stack_above_nothing(small_stack(of, "jumper"));
  const int end = end_of_child([&] {
    call(stack, use_up_and_jump);
    return 0;
  });
  return end >= killed_by(0) ? 7 : 1;
}
const ScenarioOfEach<jump_in_a_forked_child> jumps_in_a_forked_child("jump in a forked child");

constexpr std::size_t jumps[] = {16, 4 * KiB, 40 * KiB, 900 * KiB};

}  // namespace

#define GUARDED_IN_SLOTS(promise) STRATEGIES_WHERE(traits.guarded&& traits.pools, promise)

STRATEGIES_WHERE(traits.guarded,
                 "a frame that jumps a small guard, down to where nothing is, is overflow of the "
                 "stack above") {
  for (const std::size_t bytes : jumps) {
    CAPTURE(bytes);
    const Ended ended = run_with_bytes("jump from the lowest slot", Of::traits, bytes);
    check_overflow_of("jumper", ended, Of::traits);
  }
}

GUARDED_IN_SLOTS("a frame that jumps a small guard into a slot whose stack has ended is overflow") {
  for (const std::size_t bytes : {std::size_t{16}, 4 * KiB, 40 * KiB}) {
    CAPTURE(bytes);
    check_overflow_of("jumper", run_with_bytes("jump into a closed slot", Of::traits, bytes),
                      Of::traits);
  }
}

STRATEGIES_WHERE(traits.guarded&& traits.own_address_space,
                 "a frame of a thread that jumps a small guard is overflow of its stack") {
  const Ended ended = run_with_bytes("jump of a thread", Of::traits, 12 * KiB);
  check_overflow_of("jumper", ended, Of::traits);
}

STRATEGIES_WHERE(traits.grows_by != 0,
                 "a touch beyond the small guard of a pooled stack is overflow of that stack, "
                 "though another one lies there") {
  check_overflow_of("jumper", run_with_bytes("jump of a pooled stack", Of::traits, 0), Of::traits);
}

STRATEGIES_WHERE(traits.guarded,
                 "a frame that jumps a small guard in a forked child is overflow there") {
  const Ended ended = run_with_bytes("jump in a forked child", Of::traits, 12 * KiB);
  CAPTURE(ended.err);
  CHECK(ended.exit_code == 7);
  CHECK(ended.err.starts_with("growstack: stack overflow: thread"));
  CHECK(contains(ended.err, "stack \"jumper\""));
}

// ---- a touch below the stack pointer ------------------------------------------------------------

namespace {

int probe_below_the_guard(const Traits& of) {
  no_core();
  std::optional<Stack> below(small_stack(of, "below"));
  Stack stack(small_stack(of, "prober"));
  below.reset();
  call(stack, [&] { probe(address_of(stack.floor()) - guard - given_bytes()); });
  return 0;
}
const ScenarioOfEach<probe_below_the_guard> probes_below_the_guard("probe below the guard");

/// Touches the uncommitted memory of the neighbour below, in reach of the stack pointer.
int probe_into_the_neighbour(const Traits& of, bool is_used_up) {
  no_core();
  Stack below(small_stack(of, "below"));
  Stack stack(small_stack(of, "prober"));
  const std::uintptr_t target = address_of(below.base()) - small_reserve / 2;
  require(target < address_of(below.limit()), "the neighbour has not committed it");
  require(address_of(stack.base()) - target < 200 * KiB, "the two are neighbours");
  call(stack, [&] {
    if (is_used_up) {
      probe(address_of(stack.floor()));
    }
    probe(target);
  });
  return below.counters().remote_growth_faults == 1 ? 7 : 1;
}
const ScenarioOfEach<[](const Traits& of) { return probe_into_the_neighbour(of, true); }>
    probes_at_the_end("probe at the end into the neighbour");
const ScenarioOfEach<[](const Traits& of) { return probe_into_the_neighbour(of, false); }>
    probes_early("early probe into the neighbour");

}  // namespace

GUARDED_IN_SLOTS(
    "a touch below the guard, in reach of the stack pointer, is overflow of the stack that the "
    "stack pointer is in") {
  for (const std::size_t bytes : {std::size_t{1}, 20 * KiB}) {
    CAPTURE(bytes);
    check_overflow_of("prober", run_with_bytes("probe below the guard", Of::traits, bytes),
                      Of::traits);
  }
}

STRATEGIES_WHERE(
    traits.grows_by != 0,
    "a touch of the neighbour's reserve, in reach of the stack pointer, is overflow if "
    "the own stack is used up, and no growth of the neighbour") {
  check_overflow_of("prober", run_with_bytes("probe at the end into the neighbour", Of::traits, 0),
                    Of::traits);
}

STRATEGIES_WHERE(traits.grows_by != 0,
                 "a touch of the neighbour's reserve by code whose own stack is not used up makes "
                 "the neighbour grow") {
  CHECK(run_with_bytes("early probe into the neighbour", Of::traits, 0).exit_code == 7);
}

namespace {

/// Fills a local buffer of another thread, which nothing was called below, while that thread grows
/// into it.
int fill_buffer_of_neighbour(const Traits& of, bool neighbour_is_below) {
  StackPool pool({.reserve = 256 * KiB, .strategy = of.strategy});
  for (int round = 0; round < 200; ++round) {
    Stack one = pool.acquire();
    Stack two = pool.acquire();
    if ((one.base() < two.base()) != neighbour_is_below) {
      std::swap(one, two);
    }
    std::atomic<volatile char*> buffer{nullptr};
    std::atomic<bool> is_done{false};
    constexpr std::size_t bytes = 60'000;
    std::thread writer([&] {
      call(two, [&] {
        volatile char* to = nullptr;
        while ((to = buffer) == nullptr) {
        }
        for (std::size_t at = bytes; at > 64; at -= 64) {
          to[at - 1] = 1;
        }
        is_done = true;
      });
    });
    call(one, [&] {
      volatile char room[bytes];
      buffer = room;
      room[bytes - 1000] = 2;
      while (!is_done) {
      }
    });
    writer.join();
  }
  return 7;
}

const ScenarioOfEach<[](const Traits& of) { return fill_buffer_of_neighbour(of, true); }>
    fills_below("fill a buffer of the neighbour below");
const ScenarioOfEach<[](const Traits& of) { return fill_buffer_of_neighbour(of, false); }>
    fills_above("fill a buffer of the neighbour above");

/// Writes to a page of a suspended neighbour that was given back.
int write_to_page_given_back(const Traits& of) {
  Stack below(small_stack(of, "below"));
  Stack stack(small_stack(of, "writer"));
  const std::uintptr_t page = address_of(below.base()) - 4 * KiB;
  call(below, [] {});
  madvise(reinterpret_cast<void*>(page), 4 * KiB, MADV_DONTNEED);
  call(stack, [&] { probe(page); });
  return 7;
}
const ScenarioOfEach<write_to_page_given_back> writes_to_page("write to a page given back");

/// Has a write barrier right below the lowest stack, and a handler of its own for it.
int write_to_barrier(const Traits& of) {
  static std::uintptr_t barrier;
  struct sigaction action {};
  action.sa_handler = [](int) {
    mprotect(reinterpret_cast<void*>(barrier), 4 * KiB, PROT_READ | PROT_WRITE);
  };
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGSEGV, &action, nullptr);
  Stack stack = stack_above_nothing(small_stack(of, "writer"));
  barrier = address_of(stack.floor()) - guard - 4 * KiB;
  // In place of a page of the nothing.
  void* const memory = mmap(reinterpret_cast<void*>(barrier), 4 * KiB, PROT_READ,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  require(memory != MAP_FAILED, "mmap");
  call(stack, [] {
    probe(address_of(current_stack_bounds().value().floor));  // so that the stack is used up
    probe(barrier);
  });
  return 7;
}
const ScenarioOfEach<write_to_barrier> writes_to_barrier("write to a barrier");

}  // namespace

STRATEGIES_WHERE(traits.grows_by != 0,
                 "a thread may fill a buffer on a neighbour's stack while that one grows into it") {
  CHECK(run_scenario_of("fill a buffer of the neighbour below", Of::traits).exit_code == 7);
  CHECK(run_scenario_of("fill a buffer of the neighbour above", Of::traits).exit_code == 7);
}

STRATEGIES_WHERE(traits.growth_events,
                 "a page of a neighbour that was given back may be written to") {
  CHECK(run_scenario_of("write to a page given back", Of::traits).exit_code == 7);
}

STRATEGIES_WHERE(traits.guarded&& traits.pools,
                 "a touch of the program's own memory below the stacks goes to its handler, and is "
                 "reported as no overflow") {
  const Ended ended = run_scenario_of("write to a barrier", Of::traits);
  CHECK(ended.exit_code == 7);
  CHECK(ended.err.empty());
}

STRATEGIES_WHERE(traits.growth_events,
                 "code that touches its stack as far as 1 MiB below the stack pointer grows it") {
  for (const std::size_t below : {84 * KiB, 900 * KiB}) {
    CAPTURE(below);
    Stack stack({.reserve = 64 * MiB, .strategy = Of::strategy});
    call(stack, [below] { probe(GROWSTACK_HERE - below); });
    CHECK(stack.committed() >= below);
  }
}

STRATEGIES_WHERE(traits.grows_by != 0,
                 "a call on a small stack that touches a stack out of reach makes that one grow") {
  Stack below(small_stack(Of::traits, "below"));
  Stack far_between({.reserve = 4 * MiB, .strategy = Of::strategy});
  Stack other({.reserve = 32 * MiB, .strategy = Of::strategy});
  call(other, [&] { probe(address_of(below.limit()) - 1); });
  CHECK(below.counters().remote_growth_faults == 1);
}
