// Pools: acquire and release, decay, and the depth that they learn.
#include <doctest/doctest.h>

#include <growstack/stack_pool.hpp>

#include "proofs/failures/every_failure.hpp"
#include "support/descend.hpp"
#include "support/pools.hpp"

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
      go_deep(stacks[1], 200 * KiB, trial);
      require_right_figures(pool, 3, trial);
    }
    require_right_figures(pool, 0, trial);
    pool.trim();
    use(pool, 100 * KiB, of, trial);
  });
}

/// Idle stacks give their memory back, a few with each stack that comes back.
void decay(const Traits& of, const Trial& trial) {
  StackPool pool(pool_of(of, 1ms));
  {
    std::vector<Stack> stacks = acquire(pool, 12);
    for (Stack& each : stacks) {
      go_deep(each, 6 * KiB, trial);
    }
  }
  trial.watch([&] {
    for (int round = 0; round < 4; ++round) {
      std::this_thread::sleep_for(3ms);
      std::vector<Stack> stacks = acquire(pool, 2);
      stacks.clear();
    }
  });
  require_right_figures(pool, 0, trial);
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
  trial.watch([&] {
    use(pool, 300 * KiB, of, trial);
    use(pool, 700 * KiB, of, trial);
    std::this_thread::sleep_for(3ms);
    for (int round = 0; round < 12; ++round) {
      use(pool, 4 * KiB, of, trial);
    }
    pool.trim();
    use(pool, 300 * KiB, of, trial);
  });
  require_right_figures(pool, 0, trial);
  use(pool, 700 * KiB, of, trial);
}

}  // namespace

FAILURES_WHERE(traits.pools, "a pool", pool);
FAILURES_WHERE(traits.pools, "the decay of a pool", decay);
FAILURES_WHERE(traits.pools, "the learned depth of a pool", learned_depth);
