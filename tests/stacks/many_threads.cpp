// Many threads and many stacks at once: they grow, are made and destroyed, are looked at, and are
// touched by threads that run elsewhere.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <latch>
#include <optional>
#include <string>
#include <thread>
#include <vector>

using namespace growstack::testing;
using growstack::call;
using growstack::Stack;
using growstack::StackOptions;
using growstack::Strategy;
using growstack::handler::page_size;

namespace {

/// Runs body(index) in `count` threads that start together, and waits for all.
void in_threads(unsigned count, const std::function<void(unsigned)>& body) {
  std::barrier start(count);
  std::vector<std::thread> threads;
  for (unsigned index = 0; index < count; ++index) {
    threads.emplace_back([&, index] {
      // What a thread maps for itself, for its allocator, say, may land in the hole below a
      // MAP_GROWSDOWN stack and end its growth. So it is mapped first.
      static_cast<void>(growstack::handler::attach_thread());
      void* volatile allocated = std::malloc(1024);  // volatile, or the compiler leaves it out
      std::free(allocated);
      start.arrive_and_wait();
      body(index);
    });
  }
  for (std::thread& each : threads) {
    each.join();
  }
}

/// Returns the number of faults until a stack with 64 KiB committed is deeper than `depth`, or
/// until the kernel takes over. Each multiplies what is committed.
std::uint64_t faults_until(std::size_t depth, const Traits& of) {
  std::uint64_t faults = 0;
  for (std::size_t committed = 64 * KiB;
       of.growth_events && committed <= depth && committed < of.grown_by_events;
       committed *= of.factor()) {
    ++faults;
  }
  return faults;
}

/// Returns the byte of a stack that lies `bytes` below its limit.
volatile unsigned char* below_limit(const Stack& stack, std::size_t bytes) {
  return static_cast<volatile unsigned char*>(stack.limit()) - bytes;
}

}  // namespace

// ---- each thread its own stack ------------------------------------------------------------------

EVERY_STRATEGY("threads that grow their stacks at the same time do not disturb each other") {
  if (sanitized && Of::traits.limit_moves && !Of::traits.growth_events) {
    return skip(
        "the memory that a sanitizer maps for threads "
        "lands in the holes that these stacks grow into");
  }
  constexpr unsigned threads = 16;
  constexpr int rounds = sanitized ? 2 : 10;
  const StackOptions options{.reserve = 6 * MiB, .strategy = Of::strategy};
  std::atomic<std::size_t> wrong{0};
  std::atomic<std::uint64_t> faults{0};
  in_threads(threads, [&](unsigned) {
    Stack stack(options);
    for (int round = 0; round < rounds; ++round) {
      wrong += call(stack, [] { return descend(4 * MiB); });
      wrong += Of::traits.trims && stack.trim() ? 1 : 0;
    }
    faults += stack.counters().growth_faults;
  });
  CHECK(wrong == 0);
  const growstack::handler::Counters counters = growstack::handler::counters();
  CHECK(counters.growth == faults);
  CHECK(faults.load() == threads * rounds * faults_until(4 * MiB, Of::traits));
  CHECK(counters.remote_growth == 0);
  CHECK(counters.foreign == 0);
  CHECK(counters.by_helper + counters.helper_missing ==
        (Of::strategy == Strategy::pipe_helper ? faults.load() : 0));
  CHECK(growstack::process_counters().stacks == 0);
  CHECK(growstack::process_counters().arenas == 0);
}

EVERY_STRATEGY("stacks can be made and destroyed while other threads fault") {
  if (sanitized && Of::traits.limit_moves && !Of::traits.growth_events) {
    return skip(
        "the memory that a sanitizer maps for threads "
        "lands in the holes that these stacks grow into");
  }
  constexpr unsigned threads = 8;
  std::atomic<std::size_t> wrong{0};
  std::atomic<unsigned> growing{threads / 2};
  std::atomic<std::size_t> made{0};
  in_threads(threads, [&](unsigned index) {
    if (index % 2 == 0) {
      Stack stack({.reserve = 6 * MiB, .strategy = Of::strategy});
      for (int round = 0; round < (sanitized ? 5 : 30); ++round) {
        wrong += call(stack, [] { return descend(3 * MiB); });
        wrong += Of::traits.trims && stack.trim() ? 1 : 0;
      }
      --growing;
    } else {
      // Some share the arena of the stacks that grow. Others get arenas of their own.
      while (growing > 0) {
        const Stack sharing({.reserve = 6 * MiB, .strategy = Of::strategy});
        Stack alone({.reserve = (7 + index) * MiB / 2, .strategy = Of::strategy});
        wrong += call(alone, [] { return descend(200 * KiB); });
        made += 2;
      }
    }
  });
  CHECK(wrong == 0);
  CHECK(made > 0);
  CHECK(growstack::handler::counters().foreign == 0);
  CHECK(growstack::process_counters().stacks == 0);
  CHECK(growstack::process_counters().arenas == 0);
}

EVERY_STRATEGY("any thread may look at a stack while it grows") {
  std::optional<Stack> made;
  std::latch is_made(1);
  std::atomic<bool> done{false};
  std::atomic<std::size_t> wrong{0};
  std::atomic<std::size_t> looks{0};
  in_threads(3, [&](unsigned index) {
    if (index == 0) {
      made.emplace(StackOptions{.reserve = 6 * MiB, .strategy = Of::strategy});
      is_made.count_down();
    }
    is_made.wait();
    Stack& stack = *made;
    if (index == 0) {
      for (int round = 0; round < (sanitized ? 5 : 20) || looks < 20; ++round) {
        wrong += call(stack, [] { return descend(5 * MiB); });
      }
      done = true;
      return;
    }
    while (!done) {
      const auto bounds = growstack::stack_bounds(stack.floor());
      wrong += bounds.has_value() == Of::traits.guarded ? 0 : 1;
      wrong += !bounds || bounds->base == stack.base() ? 0 : 1;
      wrong += stack.committed() <= stack.reserved() ? 0 : 1;
      wrong += stack.resident() <= stack.reserved() ? 0 : 1;
      wrong += stack.high_water_mark() <= stack.reserved() ? 0 : 1;
      wrong += stack.counters().reserved == stack.reserved() ? 0 : 1;
      wrong += growstack::process_counters().stacks == 1 ? 0 : 1;
      ++looks;
    }
  });
  CHECK(wrong == 0);
}

EVERY_STRATEGY("a stack goes from thread to thread, and each thread grows it further") {
  Stack stack({.reserve = 6 * MiB, .strategy = Of::strategy});
  std::size_t wrong = 0;
  for (std::size_t step = 1; step <= 5; ++step) {
    std::thread([&] { wrong += call(stack, [step] { return descend(step * MiB); }); }).join();
    CHECK(stack.high_water_mark() >= step * MiB);
  }
  CHECK(wrong == 0);
  CHECK(stack.counters().remote_growth_faults == 0);
}

TEST_CASE("threads that used a stack leave nothing behind when they end") {
  const auto use = [] { call(StackOptions{}, [] { descend(MiB); }); };
  for (int warming = 0; warming < 3; ++warming) {
    std::thread(use).join();
  }
  const std::size_t mappings = mapping_count();
  const std::size_t descriptors = descriptor_count();
  const std::size_t threads = thread_count();
  for (int count = 0; count < 100; ++count) {
    std::thread(use).join();
  }
  // A sanitizer keeps memory for threads to come.
  CHECK((sanitized || mapping_count() <= mappings));
  CHECK(descriptor_count() == descriptors);
  CHECK(threads_come_down_to(threads));
}

// ---- touching the stack of another --------------------------------------------------------------

STRATEGIES_WHERE(traits.grows_by != 0,
                 "a touch from outside within one largest step "
                 "of the limit is growth, and is counted as remote") {
  Stack stack({.policy = {.largest_step = MiB}, .strategy = Of::strategy});
  volatile unsigned char* const near = below_limit(stack, 1);
  *near = 42;
  CHECK(*near == 42);
  volatile unsigned char* const a_step_away = below_limit(stack, MiB);
  *a_step_away = 43;
  CHECK(*a_step_away == 43);
  CHECK(*near == 42);
  CHECK(stack.counters().growth_faults == 2);
  CHECK(stack.counters().remote_growth_faults == 2);
  CHECK(growstack::handler::counters().remote_growth == 2);
  CHECK((stack.limit() <= a_step_away));
}

STRATEGIES_WHERE(traits.grows_by != 0,
                 "growth by a call that runs on another stack is remote as well") {
  Stack stack({.strategy = Of::strategy});
  Stack other({.strategy = Of::strategy});
  call(other, [&] { *below_limit(stack, 1) = 1; });
  CHECK(stack.counters().remote_growth_faults == 1);
  CHECK(other.counters().growth_faults == 0);
}

STRATEGIES_WHERE(traits.grows_by != 0 && traits.grows_by_events_only(),
                 "threads that touch one stack at once all find their bytes there") {
  constexpr unsigned threads = 8;
  Stack stack({.reserve = 64 * MiB, .policy = {.largest_step = MiB}, .strategy = Of::strategy});
  std::atomic<std::size_t> wrong{0};
  for (int round = 0; round < 20; ++round) {
    volatile unsigned char* const lowest = below_limit(stack, MiB);
    in_threads(threads, [&](unsigned index) {
      volatile unsigned char* const mine = lowest + index;
      *mine = static_cast<unsigned char>(index + 1);
      wrong += *mine == index + 1 ? 0 : 1;
    });
    for (unsigned index = 0; index < threads; ++index) {
      wrong += lowest[index] == index + 1 ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
  const growstack::handler::Counters counters = growstack::handler::counters();
  CHECK(counters.growth >= 20);
  CHECK(counters.growth + counters.spurious <= 20 * threads);
  CHECK(counters.remote_growth == counters.growth);
  CHECK(stack.committed() == stack.high_water_mark());
}

namespace {

enum class Where { far_below_the_limit, in_the_guard, below_another_stack };

template <Where where>
int touch_from_outside(const Traits& of) {
  const StackOptions options{.reserve = 256 * MiB,
                             .policy = {.largest_step = MiB},
                             .strategy = of.strategy,
                             .name = "of somebody else"};
  const Stack stack(options);
  Stack other(options);
  switch (where) {
    case Where::far_below_the_limit:
      *below_limit(stack, MiB + 1) = 1;
      break;
    case Where::in_the_guard:
      *(static_cast<volatile unsigned char*>(stack.floor()) - 1) = 1;
      break;
    case Where::below_another_stack:
      call(other, [&] { *below_limit(stack, 64 * MiB) = 1; });
      break;
  }
  return 0;
}

const ScenarioOfEach<touch_from_outside<Where::far_below_the_limit>> touches_far("far");
const ScenarioOfEach<touch_from_outside<Where::in_the_guard>> touches_guard("guard");
const ScenarioOfEach<touch_from_outside<Where::below_another_stack>> touches_below_another("wild");

}  // namespace

STRATEGIES_WHERE(
    traits.grows_by != 0,
    "a touch from outside that is further away is an ordinary crash, with no word from us") {
  for (const char* const what : {"far", "guard", "wild"}) {
    if (!Of::traits.grows_by_events_only() && std::string(what) == "wild") {
      continue;  // below its window the kernel serves every touch
    }
    CAPTURE(std::string(what));
    const Ended ended = run_scenario_of(what, Of::traits);
    CHECK(ended.signal ==
          (std::string(what) == "guard" ? signal_of_overflow(Of::strategy) : Of::traits.grows_by));
    CHECK(ended.err == "");
  }
}

// ---- the end ------------------------------------------------------------------------------------

GROWSTACK_SCENARIO("many overflow") {
  in_threads(8, [](unsigned index) {
    Stack stack({.reserve = MiB, .name = "overflowing " + std::to_string(index)});
    call(stack, [] { descend_to(0); });
  });
  return 0;
}

TEST_CASE(
    "threads that overflow at once end the process by SIGSEGV after at least one whole report") {
  const Ended ended = run_scenario("many overflow");
  CHECK(ended.signal == SIGSEGV);
  CHECK(!ended.timed_out);
  CHECK(ended.err.find("stack overflow") != std::string::npos);
  CHECK(ended.err.find("\"overflowing ") != std::string::npos);
  CHECK(ended.err.find("descend_to") != std::string::npos);
}

GROWSTACK_SCENARIO("exit while growing") {
  for (int count = 0; count < 4; ++count) {
    std::thread([] {
      Stack stack({.reserve = 64 * MiB});
      for (;;) {
        // Grows three times, and writes less in between than if it were deeper.
        call(stack, [] { descend(2 * MiB); });
        static_cast<void>(stack.trim());
      }
    }).detach();
  }
  while (growstack::handler::counters().growth < 100) {
    std::this_thread::yield();
  }
  if (sanitized) {
    std::quick_exit(7);  // at an ordinary exit a sanitizer takes what threads own for leaks
  }
  return 7;
}

TEST_CASE("a process may exit while its threads grow") {
  for (int round = 0; round < 3; ++round) {
    const Ended ended = run_scenario("exit while growing", std::chrono::seconds(20));
    CHECK(!ended.timed_out);
    CHECK(ended.exit_code == 7);
    CHECK(ended.err == "");
  }
}
