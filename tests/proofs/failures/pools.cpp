// Pools: acquire and release, decay, and the depth that they learn.
#include <doctest/doctest.h>

#include <growstack/stack_pool.hpp>

#include "proofs/failures/every_failure.hpp"
#include "support/descend.hpp"
#include "support/pools.hpp"

#include <unistd.h>

#include <array>
#include <chrono>
#include <thread>
#include <vector>

using namespace growstack;
using namespace growstack::testing;

namespace {

using namespace std::chrono_literals;

PoolOptions pool_of(const Traits& of, std::chrono::milliseconds retention = 0ms) {
  PoolOptions options = options_for(of.strategy);
  options.reserve = options_of(of).reserve;
  options.retention = retention;
  return options;
}

void use(StackPool& pool, std::size_t depth, const Traits& of, const Trial& trial) {
  Stack stack = pool.acquire();
  trial.require_guard(stack, of);
  go_deep(stack, depth, trial);
}

/// Says what a pool counts wrong.
void require_right_figures(const StackPool& pool, std::size_t live, const Trial& trial) {
  trial.require(pool.statistics().live == live, "the pool knows how many stacks are out");
}

void pool(const Traits& of, const Trial& trial) {
  { const Stack first(options_of(of)); }
  trial.watch([&] {
    StackPool pool(pool_of(of));
    {
      std::vector<Stack> stacks = acquire(pool, 3);
      for (const Stack& each : stacks) {
        trial.require_guard(each, of);
      }
      const std::array contents{contents_of(stacks[0]), contents_of(stacks[2])};
      go_deep(stacks[1], 200 * KiB, trial);
      trial.require(contents[0].changed() + contents[1].changed() == 0, "other stacks are intact");
      require_right_figures(pool, 3, trial);
    }
    require_right_figures(pool, 0, trial);
    pool.trim();
    use(pool, 100 * KiB, of, trial);
  });
}

/// Many intervals of retention.
void let_demand_fall(const Trial& trial) {
  trial.spare();
  usleep(20'000);
}

/// More stacks of 3 GiB than the first arena of a pool has, except where they are locked. (A thread
/// takes 16 of them into its cache.)
std::size_t stacks_of_two_arenas(const Traits& of) { return of.locks_memory ? 12 : 24; }

/// A thread that has ended leaves its idle stacks to the pool, and not to its cache.
void leave_idle_stacks(StackPool& pool, const Traits& of, const Trial& trial) {
  std::thread([&] {
    std::vector<Stack> stacks = acquire(pool, stacks_of_two_arenas(of));
    for (std::size_t index = 0; index < stacks.size(); index += 3) {
      go_deep(stacks[index], 6 * KiB, trial);
    }
  }).join();
}

/// Uses one stack so often that the thread looks at the clock at least once. Where no event tells
/// how deep a stack is, it looks each time.
void use_until_clock_is_looked_at(StackPool& pool, const Traits& of) {
  const int tenancies = of.growth_events ? 24 : 2;
  for (int tenancy = 0; tenancy < tenancies; ++tenancy) {
    const Stack stack = pool.acquire();
  }
}

/// Idle stacks give their memory back, a few with each stack that comes back, and an arena in which
/// nobody is goes.
void decay(const Traits& of, const Trial& trial) {
  PoolOptions options = pool_of(of, 1ms);
  options.reserve = of.locks_memory ? options.reserve : 3 * GiB;
  StackPool pool(options);
  const Stack out = pool.acquire();
  const Contents contents = contents_of(out);
  leave_idle_stacks(pool, of, trial);
  const std::size_t arenas = pool.statistics().arenas;
  trial.watch([&] {
    for (int round = 0; round < 2; ++round) {
      let_demand_fall(trial);
      use_until_clock_is_looked_at(pool, of);
    }
  });
  trial.require(of.locks_memory || arenas == 2, "the stacks lie in two arenas");
  trial.require(of.locks_memory || pool.statistics().arenas == 1, "the second arena is gone");
  trial.require(contents.changed() == 0, "a stack that is out is intact");
  require_right_figures(pool, 1, trial);
  std::vector<Stack> stacks = acquire(pool, 12);
  for (Stack& each : stacks) {
    trial.require_guard(each, of);
    go_deep(each, 50 * KiB, trial);
  }
}

/// Comes back deep so often that the pool keeps the depth, and then shallow, so that it gives up
/// what it kept.
void learned_depth(const Traits& of, const Trial& trial) {
  StackPool pool(pool_of(of, 1ms));
  for (int round = 0; round < 8; ++round) {
    use(pool, 300 * KiB, of, trial);
  }
  const Stack out = pool.acquire();
  const Contents contents = contents_of(out);
  trial.watch([&] {
    use(pool, 300 * KiB, of, trial);
    use(pool, 700 * KiB, of, trial);
    let_demand_fall(trial);
    for (int round = 0; round < 12; ++round) {
      use(pool, 4 * KiB, of, trial);
    }
    pool.trim();
    use(pool, 300 * KiB, of, trial);
  });
  trial.require(contents.changed() == 0, "a stack that is out is intact");
  require_right_figures(pool, 1, trial);
  use(pool, 700 * KiB, of, trial);
}

}  // namespace

FAILURES_WHERE(traits.pools, "a pool", pool);
FAILURES_WHERE(traits.pools, "the decay of a pool", decay);
FAILURES_WHERE(traits.pools, "the learned depth of a pool", learned_depth);
