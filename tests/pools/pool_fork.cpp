// Pools in children of fork(2): the child has the stacks and none of the threads.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/stack_pool.hpp>

#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/pools.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <latch>
#include <optional>
#include <thread>
#include <vector>

using namespace growstack;
using namespace growstack::testing;

namespace {

bool grows(Stack& stack) {
  return call(stack, [] { return descend(400 * KiB); }) == 0;
}

/// Acquires in a child, uses and gives back. Returns 0, or a number for what went wrong.
int trouble_with(StackPool& pool, std::size_t count) {
  {
    std::vector<Stack> stacks = acquire(pool, count);
    Probe probe;
    for (Stack& stack : stacks) {
      if (!probe.guarded(stack)) {
        return 1;
      }
      if (!grows(stack)) {
        return 2;
      }
    }
  }
  pool.trim();
  const Stack after = pool.acquire();
  warm_byte(after) = 1;
  return 0;
}

}  // namespace

EVERY_POOL("a pool goes on in a child of fork, and the parent's stacks are not touched") {
  StackPool pool(options_for(Of::strategy));
  std::vector<Stack> stacks = acquire(pool, 3);
  for (Stack& stack : stacks) {
    warm_byte(stack) = 42;
  }
  stacks.pop_back();
  const PoolStatistics before = pool.statistics();
  CHECK(end_of_child([&] {
          if (warm_byte(stacks[0]) != 42 || pool.statistics().live != 2) {
            return 10;
          }
          if (!grows(stacks[0])) {
            return 11;
          }
          stacks.clear();
          if (pool.statistics().live != 0) {
            return 12;
          }
          return trouble_with(pool, 4);
        }) == 0);
  CHECK(pool.statistics().live == before.live);
  CHECK(pool.statistics().committed == before.committed);
  CHECK(warm_byte(stacks[0]) == 42);
  CHECK(warm_byte(stacks[1]) == 42);
  CHECK(grows(stacks[0]));
}

EVERY_POOL(
    "a child can have a pool of its own, which ends with all it has, and so can its own child") {
  StackPool pool(options_for(Of::strategy));
  acquire(pool, 2);
  CHECK(end_of_child([&] {
          std::optional<StackPool> own(options_for(Of::strategy));
          const int trouble = trouble_with(*own, 3);
          if (trouble != 0) {
            return trouble;
          }
          const int of_its_child =
              end_of_child([&] { return trouble_with(*own, 3) + trouble_with(pool, 3); });
          own.reset();
          return of_its_child != 0                                           ? of_its_child + 20
                 : process_counters().stacks == stacks_of(pool.statistics()) ? 0
                                                                             : 30;
        }) == 0);
}

EVERY_POOL("a child has what other threads had cached, although it does not have these threads") {
  StackPool pool(options_for(Of::strategy));
  constexpr std::size_t each_has = 4;
  std::latch cached(2);
  std::latch done(1);
  std::vector<std::thread> threads;
  for (int index = 0; index < 2; ++index) {
    threads.emplace_back([&] {
      acquire(pool, each_has);
      cached.count_down();
      done.wait();
      acquire(pool, each_has);
    });
  }
  cached.wait();
  const PoolStatistics before = pool.statistics();
  const int end = end_of_child([&] {
    const PoolStatistics now = pool.statistics();
    if (now.live != 0 || now.cached != before.cached ||
        now.high_water.count() != before.high_water.count()) {
      return 10;
    }
    const std::vector<Stack> stacks = acquire(pool, before.cached);
    return pool.statistics().created == before.created ? 0 : 11;
  });
  CHECK(end == 0);
  done.count_down();
  for (std::thread& each : threads) {
    each.join();
  }
  CHECK(pool.statistics().live == 0);
}

EVERY_POOL("a stack that outlived its pool can be given back in a child") {
  std::optional<StackPool> pool(options_for(Of::strategy));
  std::vector<Stack> stacks = acquire(*pool, 2);
  pool.reset();
  CHECK(end_of_child([&] {
          if (!grows(stacks[0])) {
            return 10;
          }
          stacks.clear();
          return process_counters().arenas == 0 ? 0 : 11;
        }) == 0);
  CHECK(grows(stacks[1]));
  stacks.clear();
  CHECK(process_counters().arenas == 0);
}

EVERY_POOL(
    "a child's pool works, whatever the threads of its parent did to it at the moment of the "
    "fork") {
  if (under_address_sanitizer) {
    return skip(
        "a child inherits the locks of AddressSanitizer's "
        "allocator from threads that it does not have");
  }
  StackPool pool(options_for(Of::strategy));
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int index = 0; index < 2; ++index) {
    threads.emplace_back([&, index] {
      while (!done) {
        if (index == 0) {
          std::vector<Stack> stacks = acquire(pool, Of::traits.locks_memory ? 2 : 20);
          wrong += grows(stacks.back()) ? 0 : 1;
          const Stack named = pool.acquire("named");
        } else {
          std::thread([&] { acquire(pool, 2); }).join();
          pool.trim();
        }
      }
    });
  }
  // The other threads may be deep inside of these functions. What they had in hand is lost to the
  // child, and nothing else.
  constexpr std::size_t at_most_in_hand = 64;
  int failed = 0;
  for (int round = 0; round < 60; ++round) {
    const int end = end_of_child([&] {
      if (pool.statistics().live > at_most_in_hand) {
        return 10;
      }
      return trouble_with(pool, 3);
    });
    failed = end != 0 ? end : failed;
  }
  done = true;
  for (std::thread& each : threads) {
    each.join();
  }
  CHECK(failed == 0);
  CHECK(wrong == 0);
  CHECK(pool.statistics().live == 0);
  pool.trim();
  CHECK(stacks_of(pool.statistics()) == 0);
}

namespace {

/// Forks again and again while pools and stacks end in another thread.
int outlived_while_forking(const Traits& of) {
  std::atomic<bool> done{false};
  std::thread other([&] {
    while (!done) {
      std::optional<StackPool> pool(options_for(of.strategy));
      std::vector<Stack> stacks = acquire(*pool, 3);
      pool.reset();
    }
  });
  int failed = 0;
  for (int round = 0; round < 60; ++round) {
    const int end = end_of_child([&] {
      StackPool pool(options_for(of.strategy));
      static_cast<void>(process_counters());
      return trouble_with(pool, 2);
    });
    failed = end != 0 ? end : failed;
  }
  done = true;
  other.join();
  return failed == 0 && process_counters().arenas == 0 ? 7 : 1;
}
const ScenarioOfEach<outlived_while_forking> outlived_while_forking_scenarios(
    "outlived while forking");

}  // namespace

EVERY_POOL("pools, and stacks that outlive them, may end while another thread forks") {
  if (under_address_sanitizer) {
    return skip(
        "a child inherits the locks of AddressSanitizer's "
        "allocator from threads that it does not have");
  }
  const Ended ended = run_scenario_of("outlived while forking", Of::traits);
  CHECK(ended.err == "");
  CHECK(ended.exit_code == 7);
}
