// Pools: stacks that are given back and acquired again, from the first stack to the end of a pool.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/handler.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/stack_pool.hpp>

#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/injected_error.hpp"
#include "support/pools.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/suspended_fiber.hpp"
#include "support/units.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <latch>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace growstack;
using namespace growstack::testing;
using growstack::handler::page_size;

namespace {

/// Runs something on the stack that writes `depth` bytes deep. Returns the number of wrong bytes:
/// 0.
std::size_t use(Stack& stack, std::size_t depth) {
  return call(stack, [depth] { return descend(depth); });
}

}  // namespace

// ---- a stack of a pool --------------------------------------------------------------------------

EVERY_POOL("a pool makes stacks of one size, which are stacks like any other") {
  StackPool pool(options_for(Of::strategy));
  CHECK(pool.strategy() == Of::strategy);
  CHECK(pool.fallback_reason() == "");
  Stack stack = pool.acquire();
  CHECK(stack.strategy() == Of::strategy);
  CHECK(stack.fallback_reason() == "");
  CHECK(stack.name() == "pooled");
  CHECK(stack.reserved() == pool.reserve());
  CHECK(stack.reserved() >= MiB);
  CHECK(stack.committed() == (Of::traits.limit_moves ? warm_size : stack.reserved()));
  CHECK(use(stack, 700 * KiB) == 0);
  CHECK(stack.high_water_mark() >= 700 * KiB);
  CHECK((stack.counters().growth_faults > 0) == Of::traits.growth_events);
  if (Of::traits.trims) {
    CHECK(!stack.trim());
    CHECK(stack.resident() == 0);
    CHECK(use(stack, 700 * KiB) == 0);
  }
}

EVERY_POOL(
    "no two stacks of a pool overlap, and below each is a guard that not even the kernel can "
    "read") {
  StackPool pool(options_for(Of::strategy));
  // Of so many some are made one by one, and others several at once.
  std::vector<Stack> stacks = acquire(pool, Of::traits.locks_memory ? 5 : 70);
  std::sort(stacks.begin(), stacks.end(), [](const Stack& one, const Stack& other) {
    return address_of(one.base()) < address_of(other.base());
  });
  Probe probe;
  std::uintptr_t end_of_last = 0;
  for (const Stack& stack : stacks) {
    CHECK(address_of(stack.floor()) - PoolOptions{}.guard >= end_of_last);
    CHECK(probe.guarded(stack));
    CHECK(probe.readable(address_of(stack.base()) - 1));
    if (Of::traits.in_system_calls == InSystemCalls::refused) {
      CHECK(!probe.readable(address_of(stack.limit()) - 1));
    }
    end_of_last = address_of(stack.base());
  }
}

TEST_CASE("a pool is refused with the reason if its stacks cannot be kept or have no guard") {
  CHECK(contains(
      error_of([] { const StackPool pool({.strategy = Strategy::grows_down}); }),
      "grows_down: cannot keep its address space from stack to stack, so it has no pools"));
  CHECK(contains(error_of([] { const StackPool pool({.strategy = Strategy::heap}); }),
                 "heap: its stacks have no guard, and a pool has none without"));
  CHECK(process_counters().arenas == 0);
}

EVERY_POOL("code that runs on a stack of a pool may end the pool, and goes on") {
  std::optional<StackPool> pool(options_for(Of::strategy));
  acquire(*pool, 3);
  Stack stack = pool->acquire();
  std::size_t wrong = 1;
  call(stack, [&] {
    descend(300 * KiB);
    pool.reset();
    wrong = descend(400 * KiB);
  });
  CHECK(wrong == 0);
  CHECK(process_counters().arenas == 1);
  static_cast<void>(Stack(std::move(stack)));
  CHECK(process_counters().arenas == 0);
}

TEST_CASE("an option out of range is refused, and the message names it") {
  const auto refusal = [](const PoolOptions& options) {
    return error_of([&] { const StackPool pool(options); });
  };
  CHECK(contains(refusal({.reserve = 0}), "reserve must be from 1 byte"));
  CHECK(contains(refusal({.guard = 0}), "guard must be from 1 byte"));
  CHECK(
      contains(refusal({.policy = {.initial_commit = 0}}), "GrowthPolicy::initial_commit must be"));
  CHECK(contains(refusal({.policy = {.factor = 0.5}}), "GrowthPolicy::factor must be"));
  CHECK(contains(refusal({.strategy = static_cast<Strategy>(99)}),
                 "strategy is none of the enumeration"));
  CHECK(contains(refusal({.most_stacks = 0}), "PoolOptions::most_stacks must be at least 1"));
  CHECK(contains(refusal({.retention = std::chrono::milliseconds(-1)}),
                 "PoolOptions::retention must be"));
  using std::chrono::milliseconds;
  // The last three are too many to be counted in nanoseconds.
  for (const milliseconds retention :
       {milliseconds(std::chrono::hours(24 * 366)), milliseconds(18'446'744'074'709),
        milliseconds::max(), milliseconds::min()}) {
    CHECK(contains(refusal({.retention = retention}), "PoolOptions::retention must be"));
  }
  CHECK(process_counters().arenas == 0);
}

TEST_CASE(
    "an automatic pool takes the first strategy that works here, and says like a stack why not a "
    "better one") {
  StackPool pool(PoolOptions{.reserve = MiB});
  const Stack single({.reserve = MiB, .strategy = Strategy::automatic});
  CHECK(pool.strategy() == single.strategy());
  CHECK(pool.fallback_reason() == single.fallback_reason());
  const Stack stack = pool.acquire();
  CHECK(stack.strategy() == single.strategy());
  CHECK(stack.fallback_reason() == single.fallback_reason());
  std::printf("%s: %s\n", name(pool.strategy()).data(),
              std::string(pool.fallback_reason()).c_str());
}

// ---- given back and acquired again --------------------------------------------------------------

EVERY_POOL("the stack that was given back last is acquired first") {
  StackPool pool(options_for(Of::strategy));
  std::optional<Stack> one = pool.acquire();
  std::optional<Stack> other = pool.acquire();
  const void* const base_of_one = one->base();
  const void* const base_of_other = other->base();
  CHECK(pool.statistics().live == 2);
  one.reset();
  other.reset();
  CHECK(pool.statistics().live == 0);
  CHECK(pool.statistics().cached == 2);
  one = pool.acquire();
  other = pool.acquire();
  CHECK(one->base() == base_of_other);
  CHECK(other->base() == base_of_one);
  CHECK(pool.statistics().created == 2);
  CHECK(pool.statistics().misses == 2);
  CHECK(pool.statistics().hits == 2);
}

namespace {

int warm_pairs(const Traits& of) {
  StackPool pool({.reserve = MiB, .strategy = of.strategy});
  for (int warming = 0; warming < 3; ++warming) {
    const Stack one = pool.acquire();
    const Stack other = pool.acquire("connection");
  }
  InjectedError::for_good().forbid_all();
  for (int round = 0; round < 1000; ++round) {
    const Stack one = pool.acquire();
    const Stack other = pool.acquire("connection");
    warm_byte(one) = 1;
  }
  _exit(7);
}
const ScenarioOfEach<warm_pairs> warm_pairs_scenarios("warm pairs");

}  // namespace

POOLS_WHERE(traits.growth_events,
            "a stack that stayed small is given back and acquired without any system call") {
  if (sanitized) {
    return skip("a sanitizer makes system calls of its own");
  }
  const Ended ended = run_scenario_of("warm pairs", Of::traits);
  CHECK(ended.err == "");
  CHECK(ended.signal == 0);
  CHECK(ended.exit_code == 7);
}

POOLS_WHERE(
    traits.growth_events,
    "a stack that stayed small is not touched, so the next tenant finds what the last one left") {
  StackPool pool(options_for(Of::strategy));
  std::optional<Stack> stack = pool.acquire();
  warm_byte(*stack) = 42;
  stack.reset();
  stack = pool.acquire();
  CHECK(warm_byte(*stack) == 42);
  stack.reset();
  CHECK(pool.statistics().trims == 0);
}

POOLS_WHERE(traits.trims,
            "a stack that grew is trimmed to the warm size, and what was deeper is gone") {
  StackPool pool(options_for(Of::strategy));
  std::optional<Stack> stack = pool.acquire();
  const auto* const deep = static_cast<const volatile unsigned char*>(stack->base()) - 500 * KiB;
  unsigned char before = 0;
  call(*stack, [&] {
    touch_in_one_jump(address_of(const_cast<const unsigned char*>(deep)), 42);
    before = *deep;
  });
  CHECK(before == 42);
  const void* const base = stack->base();
  stack.reset();
  CHECK(pool.resident() <= warm_size);
  if (Of::traits.limit_moves) {
    CHECK(pool.statistics().committed == warm_size);
    CHECK(pool.statistics().trims == 1);
    CHECK(pool.statistics().growth_faults >= 1);
  }
  stack = pool.acquire();
  CHECK(stack->base() == base);
  unsigned char after = 1;
  call(*stack, [&] {
    touch_in_one_jump(address_of(const_cast<const unsigned char*>(deep)) - 64);
    after = *deep;
  });
  CHECK(after == 0);
}

POOLS_WHERE(traits.trims,
            "the next tenant starts with counters, a high-water mark and a name of its own") {
  StackPool pool(options_for(Of::strategy));
  std::optional<Stack> stack = pool.acquire("a deep one");
  CHECK(stack->name() == "a deep one");
  CHECK(use(*stack, 500 * KiB) == 0);
  stack.reset();
  stack = pool.acquire();
  CHECK(stack->name() == "pooled");
  CHECK(stack->counters().growth_faults == 0);
  CHECK(stack->counters().remote_growth_faults == 0);
  CHECK(stack->counters().unseen_growth == 0);
  CHECK(stack->high_water_mark() <= warm_size);
  CHECK(stack->committed() == (Of::traits.limit_moves ? warm_size : stack->reserved()));
}

POOLS_WHERE(traits.limit_moves, "whatever a tenant trimmed, the next one has the warm size") {
  // Less stays committed after a trim to near the base.
  PoolOptions options = options_for(Of::strategy);
  options.policy.initial_commit = 64 * KiB;
  options.policy.headroom = 0;
  StackPool pool(options);
  std::optional<Stack> stack = pool.acquire();
  CHECK(!stack->trim_below(stack->base()));
  stack.reset();
  stack = pool.acquire();
  CHECK(stack->committed() == 64 * KiB);
  CHECK(pool.statistics().committed == stack->committed());
}

POOLS_WHERE(
    traits.trims,
    "a suspended fiber that had touched 128 KiB keeps two pages at most, and goes on intact") {
  if (sanitized) {
    return skip("a sanitizer must be told of every switch of stacks, and makes frames larger");
  }
  StackPool pool(options_for(Of::strategy));
  Stack stack = pool.acquire();
  SuspendedFiber<512> fiber(stack, 128 * KiB);
  for (int round = 0; round < 2; ++round) {
    CAPTURE(round);
    fiber.resume();
    CHECK(stack.resident() >= 128 * KiB);
    CHECK(!stack.trim_below(reinterpret_cast<const void*>(fiber.stack_pointer())));
    CHECK(stack.resident() >= page_size());
    CHECK(stack.resident() <= 2 * page_size());
  }
  fiber.resume();
  CHECK(fiber.wrong() == 0);
}

ONE_STRATEGY(Strategy::guard_markers,
             "a frame larger than the window of markers is not seen, and what it left goes when "
             "the pool is trimmed") {
  PoolOptions options = options_for(Strategy::guard_markers);
  options.reserve = 8 * MiB;
  StackPool pool(options);
  std::optional<Stack> stack = pool.acquire();
  call(*stack, [&] { touch_in_one_jump(address_of(stack->base()) - 2 * MiB); });
  CHECK(stack->counters().growth_faults == 0);
  stack.reset();
  CHECK(pool.statistics().trims == 0);
  stack = pool.acquire();
  CHECK(stack->high_water_mark() >= 2 * MiB);  // the last tenant's
  CHECK(!stack->trim());
  CHECK(stack->resident() == 0);
  call(*stack, [&] { touch_in_one_jump(address_of(stack->base()) - 2 * MiB); });
  stack.reset();
  pool.trim();
  CHECK(pool.resident() == 0);
}

// ---- how deep they went -------------------------------------------------------------------------

POOLS_WHERE(traits.trims,
            "a pool knows how deep its stacks went: 99 % of the connections stayed within 16 KiB") {
  StackPool pool(options_for(Of::strategy));
  for (int tenancy = 0; tenancy < 100; ++tenancy) {
    Stack stack = pool.acquire("connection");
    CHECK(use(stack, tenancy == 50 ? 300 * KiB : 1 * KiB) == 0);
  }
  use(*std::make_unique<Stack>(pool.acquire()), 100 * KiB);
  const std::vector<NamedHighWater> names = pool.high_water_by_name();
  REQUIRE(names.size() == 2);
  CHECK(names[0].name == "pooled");
  CHECK(names[1].name == "connection");
  const HighWaterDistribution& connections = names[1].high_water;
  CHECK(connections.count() == 100);
  CHECK(connections.within(0.99) <= (sanitized ? 64 : 16) * KiB);
  CHECK(connections.within(1.0) >= 300 * KiB);
  CHECK(connections.deepest >= 300 * KiB);
  CHECK(connections.deepest <= connections.within(1.0));
  CHECK(names[0].high_water.count() == 1);
  CHECK(names[0].high_water.deepest >= 100 * KiB);
  HighWaterDistribution sum = names[0].high_water;
  sum += names[1].high_water;
  const HighWaterDistribution all = pool.statistics().high_water;
  CHECK(all.stacks == sum.stacks);
  CHECK(all.deepest == sum.deepest);
}

TEST_CASE("a distribution tells the power of two within which a given part of the stacks stayed") {
  HighWaterDistribution depths;
  CHECK(depths.count() == 0);
  CHECK(depths.within(0.5) == 0);
  depths.stacks[13] = 98;
  depths.stacks[14] = 1;
  depths.stacks[20] = 1;
  CHECK(depths.count() == 100);
  CHECK(depths.within(0) == 8 * KiB);
  CHECK(depths.within(0.98) == 8 * KiB);
  CHECK(depths.within(0.99) == 16 * KiB);
  CHECK(depths.within(0.991) == MiB);
  CHECK(depths.within(1) == MiB);
  CHECK(depths.within(2) == MiB);
  CHECK(depths.within(-1) == 8 * KiB);
  CHECK(depths.within(std::nan("")) == 8 * KiB);
  depths.stacks[20] = UINT64_MAX - depths.count();
  CHECK(depths.within(1) == MiB);
}

TEST_CASE("statistics have the whole of a long name, and a report shows its first part") {
  StackPool pool({.reserve = MiB, .name = std::string(100, 'p')});
  const std::string long_name(100, 'n');
  CHECK(pool.acquire().name() == std::string(39, 'p'));
  CHECK(pool.acquire(long_name).name() == std::string(39, 'n'));
  CHECK(pool.high_water_by_name().at(0).name == std::string(100, 'p'));
  CHECK(pool.high_water_by_name().at(1).name == long_name);
}

TEST_CASE(
    "the first 255 names are told apart, and all further names are counted as the pool's own") {
  StackPool pool(PoolOptions{.reserve = MiB});
  for (int round = 0; round < 2; ++round) {
    for (int number = 0; number < 300; ++number) {
      const Stack stack = pool.acquire("number " + std::to_string(number));
    }
  }
  const std::vector<NamedHighWater> names = pool.high_water_by_name();
  REQUIRE(names.size() == 256);
  CHECK(names[0].high_water.count() == 2 * (300 - 255));
  CHECK(names[1].name == "number 0");
  CHECK(names[255].name == "number 254");
  CHECK(names[255].high_water.count() == 2);
  CHECK(pool.statistics().high_water.count() == 600);
}

TEST_CASE("to ask for the pool's own name or an empty one is the same as to ask for none") {
  StackPool pool({.reserve = MiB, .name = "own"});
  CHECK(pool.acquire("own").name() == "own");
  CHECK(pool.acquire("other").name() == "other");
  CHECK(pool.acquire("").name() == "own");
  CHECK(pool.high_water_by_name().size() == 2);
  CHECK(pool.high_water_by_name()[0].high_water.count() == 2);
  StackPool fresh({.reserve = MiB, .name = "fresh"});
  CHECK(fresh.acquire("").name() == "fresh");
  CHECK(fresh.high_water_by_name().size() == 1);
}

// ---- threads ------------------------------------------------------------------------------------

EVERY_POOL("a stack may be given back by another thread than the one that acquired it") {
  StackPool pool(options_for(Of::strategy));
  std::optional<Stack> stack = pool.acquire();
  const void* const base = stack->base();
  use(*stack, 200 * KiB);
  std::thread([&] {
    use(*stack, 400 * KiB);
    stack.reset();
  }).join();
  CHECK(pool.statistics().live == 0);
  CHECK(pool.acquire().base() == base);
  CHECK(pool.statistics().created == 1);
}

EVERY_POOL("the pool gets back what a thread has cached when the thread ends") {
  StackPool pool(options_for(Of::strategy));
  std::thread([&] { acquire(pool, 5); }).join();
  const PoolStatistics ended = pool.statistics();
  CHECK(ended.live == 0);
  CHECK(ended.cached == ended.created);
  CHECK(ended.high_water.count() == 5);
  acquire(pool, 5);
  CHECK(pool.statistics().created == ended.created);
  CHECK(pool.statistics().high_water.count() == 10);
}

namespace {
/// Is destroyed when its thread ends.
thread_local std::optional<Stack> kept;
}  // namespace

EVERY_POOL(
    "a stack that a thread_local object owns comes back when its thread ends, whichever of the two "
    "was there first") {
  StackPool pool(options_for(Of::strategy));
  for (const bool object_first : {true, false}) {
    CAPTURE(object_first);
    std::thread([&] {
      if (object_first) {
        kept.reset();
      }
      Stack stack = pool.acquire();
      warm_byte(stack) = 1;
      kept = std::move(stack);
    }).join();
    CHECK(pool.statistics().live == 0);
    CHECK(pool.statistics().cached == 1);
  }
  CHECK(pool.statistics().created == 1);
}

namespace {

std::optional<Stack> left_to_the_last;

/// The destructor of a key that is younger than the library's key: it runs when this thread has
/// given its cache up.
void use_pool_at_the_very_end(void* pool) {
  left_to_the_last.reset();
  const Stack one_more = static_cast<StackPool*>(pool)->acquire();
  warm_byte(one_more) = 1;
}

}  // namespace

EVERY_POOL("the very last destructors of a thread may give stacks back, and acquire") {
  StackPool pool(options_for(Of::strategy));
  pthread_key_t key = 0;
  REQUIRE(pthread_key_create(&key, use_pool_at_the_very_end) == 0);
  std::thread([&] {
    left_to_the_last = pool.acquire();
    pthread_setspecific(key, &pool);
  }).join();
  pthread_key_delete(key);
  CHECK(pool.statistics().live == 0);
  CHECK(pool.statistics().cached == 1);
  CHECK(pool.statistics().high_water.count() == 2);
}

TEST_CASE("many threads may use pools in turns, and each pool knows its own stacks") {
  constexpr int pools = 3;
  std::vector<std::unique_ptr<StackPool>> all;
  for (int index = 0; index < pools; ++index) {
    all.push_back(std::make_unique<StackPool>(options_for(Strategy::automatic)));
  }
  std::vector<std::thread> threads;
  for (int index = 0; index < 3; ++index) {
    threads.emplace_back([&] {
      for (int round = 0; round < 300; ++round) {
        const Stack one = all[static_cast<std::size_t>(round % pools)]->acquire();
        const Stack other = all[static_cast<std::size_t>((round + 1) % pools)]->acquire("other");
        warm_byte(one) = 1;
        warm_byte(other) = 2;
      }
    });
  }
  for (std::thread& each : threads) {
    each.join();
  }
  for (const auto& pool : all) {
    const PoolStatistics figures = pool->statistics();
    CHECK(figures.live == 0);
    CHECK(figures.cached == figures.created);
    CHECK(figures.high_water.count() == 600);
    CHECK(pool->high_water_by_name().at(1).high_water.count() == 300);
  }
}

TEST_CASE(
    "a pool that is made right after another one ended gets no stack of the other, in any thread") {
  // Both pools have the same place in the tables of the threads that used the first one.
  std::optional<StackPool> pool;
  std::atomic<int> round_of_main{0};
  std::atomic<int> round_of_thread{0};
  std::atomic<int> wrong{0};
  constexpr int rounds = 50;
  std::vector<void*> bases;
  std::thread other([&] {
    std::optional<Stack> of_the_last_one;
    for (int round = 1; round <= rounds; ++round) {
      while (round_of_main < round) {
        std::this_thread::yield();
      }
      {
        Stack stack = pool->acquire();
        of_the_last_one.reset();  // goes to the pool that has ended, after a use of its successor
        const Stack second = pool->acquire();
        wrong += stack.base() == second.base() ? 1 : 0;
        wrong += stack.name() == "number " + std::to_string(round) ? 0 : 1;
        wrong += use(stack, 40 * KiB) == 0 ? 0 : 1;
        if (round < rounds) {
          of_the_last_one = std::move(stack);
        }
      }
      round_of_thread = round;
    }
  });
  for (int round = 1; round <= rounds; ++round) {
    pool.reset();
    pool.emplace(PoolOptions{.reserve = MiB, .name = "number " + std::to_string(round)});
    const Stack stack = pool->acquire();
    round_of_main = round;
    while (round_of_thread < round) {
      std::this_thread::yield();
    }
  }
  other.join();
  CHECK(wrong == 0);
  CHECK(pool->statistics().live == 0);
  CHECK(pool->statistics().created == 3);
  pool.reset();
  CHECK(process_counters().arenas == 0);
}

TEST_CASE("a pool may end while threads that have used it end") {
  for (int round = 0; round < 200; ++round) {
    std::optional<StackPool> pool(options_for(Strategy::automatic));
    StackPool survivor(options_for(Strategy::automatic));
    std::latch used(2);
    std::vector<std::thread> threads;
    for (int index = 0; index < 2; ++index) {
      threads.emplace_back([&] {
        acquire(*pool, 3);
        acquire(survivor, 3);
        used.count_down();
      });
    }
    used.wait();
    pool.reset();
    for (std::thread& each : threads) {
      each.join();
    }
    if (survivor.statistics().live != 0 ||
        process_counters().stacks != stacks_of(survivor.statistics())) {
      FAIL("in round ", round);
    }
  }
}

// ---- moved, and outlived ------------------------------------------------------------------------

EVERY_POOL("pools and their stacks can be moved") {
  StackPool first(options_for(Of::strategy));
  Stack stack = first.acquire();
  const void* const base = stack.base();
  StackPool second(std::move(first));
  Stack moved(std::move(stack));
  CHECK(moved.base() == base);
  CHECK(second.statistics().live == 1);
  first = StackPool(options_for(Of::strategy));
  CHECK(first.statistics().live == 0);
  first = std::move(second);
  CHECK(first.statistics().live == 1);
  moved = first.acquire();  // gives the other one back
  CHECK(first.statistics().live == 1);
  CHECK(moved.base() != base);
  CHECK(process_counters().arenas == 1);
}

EVERY_POOL(
    "stacks may outlive their pool: they grow, and the end of the last one gives everything back") {
  for (const bool by_another_thread : {false, true}) {
    CAPTURE(by_another_thread);
    std::optional<StackPool> pool(options_for(Of::strategy));
    std::vector<Stack> stacks = acquire(*pool, 3);
    const std::uintptr_t floor = address_of(stacks[0].floor());
    const std::uintptr_t base = address_of(stacks[0].base());
    acquire(*pool, 3);
    pool.reset();
    CHECK(process_counters().stacks >= 3);
    CHECK(process_counters().arenas == 1);
    for (Stack& stack : stacks) {
      CHECK(use(stack, 400 * KiB) == 0);
    }
    if (by_another_thread) {
      std::thread([&] { stacks.clear(); }).join();
    } else {
      stacks.clear();
    }
    CHECK(process_counters().stacks == 0);
    CHECK(process_counters().arenas == 0);
    CHECK(!pages_in_memory(floor, base));
  }
}

POOLS_WHERE(
    traits.trims,
    "when a pool ends, the memory of its idle stacks goes although another stack is still in use") {
  std::optional<StackPool> pool(options_for(Of::strategy));
  std::optional<Stack> survivor;
  std::vector<Stack> stacks = acquire(*pool, 4);
  const auto resident = [](const std::pair<std::uintptr_t, std::uintptr_t>& place) {
    return pages_in_memory(place.first, place.second).value_or(0);
  };
  std::vector<std::pair<std::uintptr_t, std::uintptr_t>> places;
  for (Stack& stack : stacks) {
    use(stack, 2 * KiB);
    places.emplace_back(address_of(stack.floor()), address_of(stack.base()));
  }
  survivor = std::move(stacks.back());
  stacks.pop_back();
  std::optional<Stack> second = std::move(stacks.back());
  stacks.clear();
  CHECK(resident(places[0]) > 0);
  pool.reset();
  CHECK(resident(places[0]) == 0);
  CHECK(resident(places[1]) == 0);
  CHECK(resident(places[2]) > 0);
  second.reset();
  CHECK(resident(places[2]) == 0);
  CHECK(use(*survivor, 400 * KiB) == 0);
}

// ---- all of it given back -----------------------------------------------------------------------

EVERY_POOL("trim gives back everything that nobody uses: memory, charge, address space") {
  StackPool pool(options_for(Of::strategy));
  acquire(pool, 1);
  pool.trim();  // leaves what stays for good
  const std::size_t mappings = mapping_count();
  const std::size_t address_space = status_bytes("VmSize");
  for (int round = 0; round < 2; ++round) {
    CAPTURE(round);
    {
      std::vector<Stack> stacks = acquire(pool, Of::traits.locks_memory ? 4 : 100);
      for (Stack& stack : stacks) {
        CHECK(use(stack, 50 * KiB) == 0);
      }
      CHECK(pool.statistics().live == stacks.size());
      CHECK(pool.resident() >= stacks.size() * 50 * KiB);
    }
    CHECK(pool.statistics().live == 0);
    CHECK(pool.statistics().cached > 0);
    pool.trim();
    const PoolStatistics trimmed = pool.statistics();
    CHECK(stacks_of(trimmed) == 0);
    CHECK(trimmed.arenas == 0);
    CHECK(trimmed.reserved == 0);
    CHECK(trimmed.committed == 0);
    CHECK(pool.resident() == 0);
    CHECK(process_counters().arenas == 0);
    if (!sanitized) {  // a sanitizer's shadow memory is mapped piece by piece
      CHECK(mapping_count() <= mappings);
      CHECK(status_bytes("VmSize") <= address_space + MiB);
    }
  }
}

EVERY_POOL("trim does not touch stacks that are in use") {
  StackPool pool(options_for(Of::strategy));
  std::vector<Stack> stacks = acquire(pool, 6);
  for (Stack& stack : stacks) {
    warm_byte(stack) = 42;
  }
  stacks.erase(stacks.begin() + 1, stacks.begin() + 4);
  call(stacks[0], [&] { pool.trim(); });
  CHECK(pool.statistics().live == 3);
  CHECK(pool.statistics().cached == 0);
  CHECK(pool.statistics().arenas == 1);
  Probe probe;
  for (Stack& stack : stacks) {
    CHECK(warm_byte(stack) == 42);
    CHECK(use(stack, 500 * KiB) == 0);
    CHECK(probe.guarded(stack));
  }
  for (Stack& stack : acquire(pool, 6)) {  // in slots that were trimmed, and in new ones
    CHECK(use(stack, 500 * KiB) == 0);
    CHECK(probe.guarded(stack));
  }
}

POOLS_WHERE(!traits.locks_memory,
            "trim also takes what running threads have cached, and no stack is lost") {
  StackPool pool(options_for(Of::strategy));
  constexpr int threads = 3;
  const int rounds = sanitized || Of::traits.by_userfaultfd ? 1000 : 3000;
  std::atomic<int> wrong{0};
  std::atomic<int> at_work{threads};
  std::vector<std::thread> all;
  for (int index = 0; index < threads; ++index) {
    all.emplace_back([&, index] {
      const auto mine = static_cast<unsigned char>(index + 1);
      for (int round = 0; round < rounds; ++round) {
        std::vector<Stack> stacks = acquire(pool, static_cast<std::size_t>(1 + round % 5));
        for (Stack& stack : stacks) {
          warm_byte(stack) = mine;
        }
        if (round % 64 == 0) {
          std::this_thread::yield();
        }
        for (Stack& stack : stacks) {
          wrong += warm_byte(stack) == mine ? 0 : 1;  // no other thread has it
        }
      }
      --at_work;
    });
  }
  int trims = 0;
  while (at_work > 0) {
    pool.trim();
    ++trims;
    static_cast<void>(pool.statistics());
    std::this_thread::yield();
  }
  for (std::thread& each : all) {
    each.join();
  }
  CHECK(trims > 0);
  CHECK(wrong == 0);
  CHECK(pool.statistics().live == 0);
  CHECK(pool.statistics().high_water.count() ==
        static_cast<std::uint64_t>(threads) * static_cast<std::uint64_t>(rounds) * 3);
  pool.trim();
  CHECK(stacks_of(pool.statistics()) == 0);
  CHECK(pool.statistics().committed == 0);
}

POOLS_WHERE(traits.grows_by != 0,
            "a pool without stacks lets the handler go, and installs it again when it needs it") {
  StackPool pool(options_for(Of::strategy));
  CHECK(handler::uninstall() == EBUSY);
  CHECK(use(*std::make_unique<Stack>(pool.acquire()), 400 * KiB) == 0);
  pool.trim();
  CHECK(handler::uninstall() == 0);
  CHECK(!handler::installed());
  CHECK(use(*std::make_unique<Stack>(pool.acquire()), 400 * KiB) == 0);
  CHECK(handler::installed());
}

// ---- as demand falls ----------------------------------------------------------------------------

namespace {

/// Acquires and gives back until is_so() is true. Returns false if it does not become true after
/// very many times.
bool soon(StackPool& pool, const std::function<bool(const PoolStatistics&)>& is_so) {
  for (int pair = 0; pair < 20'000'000; ++pair) {
    const Stack stack = pool.acquire();
    if (pair % 64 == 0 && is_so(pool.statistics())) {
      return true;
    }
  }
  return false;
}

}  // namespace

POOLS_WHERE(
    !traits.locks_memory,
    "as demand falls, acquiring and giving back suffice to give back the memory of idle stacks") {
  PoolOptions options = options_for(Of::strategy);
  options.retention = std::chrono::milliseconds(1);
  StackPool pool(options);
  constexpr std::size_t peak = 300;
  acquire(pool, peak);
  CHECK(pool.statistics().created >= peak);
  // A thread keeps some for itself.
  CHECK(soon(pool, [](const PoolStatistics& now) { return now.cached <= 40; }));
  const PoolStatistics calm = pool.statistics();
  CHECK(calm.live == 0);
  CHECK(calm.arenas == 1);
  CHECK(pool.resident() <= 41 * warm_size);
  for (Stack& stack : acquire(pool, peak)) {  // the next peak finds stacks that work
    CHECK(use(stack, 20 * KiB) == 0);
  }
}

TEST_CASE(
    "as demand falls, arenas go one after the other, and other stacks can have their address space "
    "at once") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer leaves too little address space");
  }
  // The stacks are so large that an arena has room for few.
  StackPool pool(PoolOptions{.reserve = 4 * GiB, .retention = std::chrono::milliseconds(1)});
  std::vector<Stack> stacks = acquire(pool, 900);
  const std::size_t arenas = pool.statistics().arenas;
  CHECK(arenas >= 3);
  while (stacks.size() > 100) {
    // The upper ones first. Those that are given back last stay in this thread's cache, wherever
    // they lie.
    stacks.pop_back();
  }
  CHECK(soon(pool, [&](const PoolStatistics& now) {
    const Stack other({.reserve = 128 * MiB});  // throws if there is no address space
    const Stack of_a_size_of_its_own({.reserve = 512 * MiB});
    return now.arenas < arenas && now.live + now.cached + now.cold < 300;
  }));
  for (Stack& stack : stacks) {
    CHECK(use(stack, 20 * KiB) == 0);
  }
}

TEST_CASE("with a retention of zero idle stacks stay warm") {
  StackPool pool(options_for(Strategy::automatic));
  acquire(pool, 300);
  const std::size_t created = pool.statistics().created;
  for (int pair = 0; pair < 100'000; ++pair) {
    const Stack stack = pool.acquire();
  }
  CHECK(pool.statistics().cached == created);
  CHECK(pool.statistics().cold == 0);
  CHECK(pool.statistics().created == created);
}

// ---- the whole process --------------------------------------------------------------------------

EVERY_POOL("the counters of the process include pools and their idle stacks") {
  StackPool pool(options_for(Of::strategy));
  Stack single({.reserve = MiB, .strategy = Of::strategy});
  std::vector<Stack> stacks = acquire(pool, 3);
  use(stacks[0], 200 * KiB);
  use(single, 200 * KiB);
  ProcessCounters now = process_counters();
  const PoolStatistics figures = pool.statistics();
  CHECK(now.stacks == stacks_of(figures) + 1);
  CHECK(now.arenas == figures.arenas + 1);
  CHECK(now.reserved == figures.reserved + single.reserved());
  CHECK(now.committed == figures.committed + single.committed());
  CHECK(now.committed ==
        stacks[0].committed() + stacks[1].committed() + stacks[2].committed() + single.committed());
  stacks.clear();
  now = process_counters();
  CHECK(now.stacks == 4);
  CHECK(now.committed == pool.statistics().committed + single.committed());
}

TEST_CASE("the budget of the process counts single stacks and pools together") {
  CHECK(process_budget() == SIZE_MAX);
  StackPool pool(options_for(Strategy::in_handler));
  const Stack single({.reserve = MiB, .strategy = Strategy::in_handler});
  set_process_budget(process_counters().committed);
  CHECK(process_budget() == process_counters().committed);
  const Stack last = pool.acquire();  // was made before
  const auto refused = [&](const std::string& message) {
    return contains(message, "the budget of the process (set_process_budget) is");
  };
  CHECK(refused(error_of([&] { const Stack one_more = pool.acquire(); })));
  CHECK(refused(
      error_of([&] { const Stack one_more({.reserve = MiB, .strategy = Strategy::in_handler}); })));
  CHECK(refused(error_of([&] { const StackPool one_more(options_for(Strategy::in_handler)); })));
  set_process_budget(SIZE_MAX);
  const Stack one_more = pool.acquire();
  CHECK(process_counters().stacks == 3);
}
