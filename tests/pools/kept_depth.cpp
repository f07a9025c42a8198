// How deep the idle stacks of a pool stay committed: what a pool learns, and what it gives back.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/stack_pool.hpp>

#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/pools.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <latch>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

using namespace growstack;
using namespace growstack::testing;

namespace {

constexpr std::size_t shallow = KiB;
constexpr std::size_t deep = 500 * KiB;
constexpr std::size_t kept_when_deep = 512 * KiB;

/// Touches a byte `depth` bytes below the base.
void touch(Stack& stack, std::size_t depth) {
  call(stack,
       [&] { touch_in_one_jump(std::min(GROWSTACK_HERE, address_of(stack.base()) - depth)); });
}

void use(StackPool& pool, std::size_t depth, std::string_view name = {}) {
  Stack stack = pool.acquire(name);
  touch(stack, depth);
}

void use(StackPool& pool, std::size_t depth, int times, std::string_view name = {}) {
  for (int time = 0; time < times; ++time) {
    use(pool, depth, name);
  }
}

/// Uses so many stacks at once.
void use_many(StackPool& pool, std::size_t depth, std::size_t count) {
  std::vector<Stack> stacks = acquire(pool, count);
  for (Stack& stack : stacks) {
    touch(stack, depth);
  }
}

/// Returns the bytes that the next stack has committed when it is acquired.
std::size_t kept(StackPool& pool, std::string_view name = {}) {
  return pool.acquire(name).committed();
}

PoolOptions with_retention(Strategy strategy, int milliseconds) {
  PoolOptions options = options_for(strategy);
  options.retention = std::chrono::milliseconds(milliseconds);
  return options;
}

/// Goes on with `load` until `is_so` is true. Returns false if that takes half a minute.
template <class Load, class IsSo>
bool sooner_or_later(const Load& load, const IsSo& is_so) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!is_so()) {
    if (std::chrono::steady_clock::now() > end) {
      return false;
    }
    load();
  }
  return true;
}

/// A thread that has run body() and does nothing more, until the end of this object.
class InBackground {
 public:
  template <class Body>
  explicit InBackground(Body body)
      : thread_([this, body] {
          body();
          done_.count_down();
          end_.wait();
        }) {
    done_.wait();
  }
  ~InBackground() {
    end_.count_down();
    thread_.join();
  }
  InBackground(const InBackground&) = delete;
  InBackground& operator=(const InBackground&) = delete;

 private:
  std::latch done_{1};
  std::latch end_{1};
  std::thread thread_;
};

std::uint64_t growth_faults(const StackPool& pool) { return pool.statistics().growth_faults; }

}  // namespace

// ---- learning -----------------------------------------------------------------------------------

POOLS_WHERE(traits.limit_moves,
            "after eight deep tenancies a pool keeps its stacks so deep, and they grow no more") {
  StackPool pool(options_for(Of::strategy));
  use(pool, deep, 7);
  CHECK(kept(pool) == warm_size);
  use(pool, deep, 8);
  CHECK(kept(pool) == kept_when_deep);
  const PoolStatistics before = pool.statistics();
  use(pool, deep, 1000);
  const PoolStatistics after = pool.statistics();
  CHECK(after.trims == before.trims);
  CHECK(after.growth_faults == before.growth_faults);
  CHECK(after.committed == before.committed);
  CHECK(after.high_water.count() == before.high_water.count() + 1000);
}

POOLS_WHERE(traits.trims && !traits.limit_moves,
            "where no event tells of growth, a pool learns from the kernel how deep to keep") {
  StackPool pool(options_for(Of::strategy));
  const auto fill = [&](std::size_t depth, int times) {
    for (int time = 0; time < times; ++time) {
      Stack stack = pool.acquire();
      call(stack,
           [&] { fill_in_one_jump(address_of(stack.base()) - depth, GROWSTACK_HERE - 4 * KiB); });
    }
  };
  fill(deep, 3);
  CHECK(pool.resident() <= warm_size);
  fill(deep, 20);
  CHECK(pool.resident() >= deep - 64 * KiB);
  fill(900 * KiB, 1);
  CHECK(pool.resident() <= kept_when_deep);
}

POOLS_WHERE(traits.limit_moves, "a pool with a fixed warm size learns nothing") {
  PoolOptions options = options_for(Of::strategy);
  options.warm_size = WarmSize::fixed;
  StackPool pool(options);
  use(pool, deep, 100);
  CHECK(kept(pool) == warm_size);
  CHECK(pool.statistics().trims == 100);
  CHECK(pool.statistics().committed == warm_size);
}

TEST_CASE("a warm size that is none of the enumeration is refused") {
  PoolOptions options;
  options.warm_size = static_cast<WarmSize>(9);
  CHECK(contains(error_of([&] { const StackPool pool(options); }),
                 "PoolOptions::warm_size is none of the enumeration"));
}

POOLS_WHERE(traits.limit_moves,
            "one deep tenancy in a hundred is trimmed each time, and grows step by step") {
  StackPool pool(options_for(Of::strategy));
  for (int tenancy = 0; tenancy < 1000; ++tenancy) {
    use(pool, tenancy % 100 == 0 ? deep : shallow);
    REQUIRE(pool.statistics().committed == warm_size);
  }
  const HighWaterDistribution depths = pool.statistics().high_water;
  CHECK(depths.count() == 1000);
  CHECK(depths.within(0.99) == warm_size);
  CHECK(depths.within(1) == kept_when_deep);
  CHECK(pool.resident() <= warm_size);
}

POOLS_WHERE(traits.limit_moves,
            "what goes beyond the usual depth is trimmed to it, and its first growth reaches it at "
            "once") {
  StackPool pool(options_for(Of::strategy));
  use(pool, deep, 20);
  use(pool, 900 * KiB);
  CHECK(kept(pool) == kept_when_deep);
  // A stack that is new, or was trimmed, gets there by one fault.
  std::vector<Stack> stacks = acquire(pool, 3);
  Stack& fresh = stacks.back();
  CHECK(fresh.committed() == warm_size);
  touch(fresh, 20 * KiB);
  CHECK(fresh.committed() == kept_when_deep);
  CHECK(fresh.counters().growth_faults == 1);
  CHECK(!fresh.trim());
  CHECK(fresh.committed() == warm_size);
  touch(fresh, 400 * KiB);
  touch(fresh, 700 * KiB);
  CHECK(fresh.committed() >= 700 * KiB);
}

POOLS_WHERE(traits.limit_moves, "a load that becomes deeper is followed, however long it was not") {
  StackPool pool(options_for(Of::strategy));
  use(pool, shallow, 2000);
  use(pool, 60 * KiB, 20);
  CHECK(kept(pool) == 64 * KiB);
  use(pool, deep, 20);
  CHECK(kept(pool) == kept_when_deep);
}

POOLS_WHERE(traits.limit_moves,
            "a deep name keeps stacks of its own, and the others stay at the warm size") {
  StackPool pool(options_for(Of::strategy));
  use(pool, deep, 20, "deep");
  for (int round = 0; round < 50; ++round) {
    use(pool, shallow, 20);
    use(pool, shallow, 20, "shallow");
    use(pool, deep, "deep");
  }
  CHECK(kept(pool) == warm_size);
  CHECK(kept(pool, "shallow") == warm_size);
  CHECK(kept(pool, "deep") == kept_when_deep);
  const std::uint64_t before = growth_faults(pool);
  use(pool, deep, 100, "deep");
  CHECK(growth_faults(pool) == before);
  CHECK(pool.statistics().created == 2);
  CHECK(pool.statistics().cached == 2);
  CHECK(pool.statistics().committed == warm_size + kept_when_deep);
}

POOLS_WHERE(traits.limit_moves,
            "more deep stacks than a thread keeps are found in the pool, and none is made anew") {
  StackPool pool(options_for(Of::strategy));
  use(pool, deep, 20, "deep");
  const auto use_at_once = [&] {
    std::vector<Stack> stacks;
    while (stacks.size() < 30) {
      stacks.push_back(pool.acquire("deep"));
      touch(stacks.back(), deep);
    }
  };
  use_at_once();
  const PoolStatistics before = pool.statistics();
  use_at_once();
  use(pool, shallow, 5);
  CHECK(pool.statistics().created == before.created);
  CHECK(growth_faults(pool) <= before.growth_faults);
}

// ---- samples and statistics ---------------------------------------------------------------------

POOLS_WHERE(traits.limit_moves,
            "a load that became shallow is noticed by samples, and its memory goes") {
  StackPool pool(with_retention(Of::strategy, 100));
  use_many(pool, deep, 20);
  use_many(pool, deep, 20);
  CHECK(kept(pool) >= deep);
  CHECK(pool.statistics().committed >= 15 * deep);
  CHECK(sooner_or_later([&] { use_many(pool, shallow, 20); },
                        [&] { return pool.statistics().committed <= 40 * warm_size; }));
  CHECK(kept(pool) == warm_size);
}

POOLS_WHERE(
    traits.limit_moves,
    "memory goes also from the caches of threads that do nothing, and from stacks that were "
    "out meanwhile") {
  StackPool pool(with_retention(Of::strategy, 100));
  use(pool, deep, 20);
  use_many(pool, deep, 5);
  std::vector<Stack> out = acquire(pool, 5);  // deep, and they do not grow in this tenancy
  const InBackground idle([&] {
    use_many(pool, deep, 20);
    use_many(pool, deep, 20);
  });
  CHECK(pool.statistics().committed >= 20 * deep);
  constexpr std::size_t small = sanitized ? 64 * KiB : warm_size;  // a sanitizer enlarges frames
  const auto committed_by_idle = [&] {
    std::size_t committed = pool.statistics().committed;
    for (const Stack& stack : out) {
      committed -= stack.committed();
    }
    return committed;
  };
  CHECK(sooner_or_later([&] { use(pool, shallow, 20); },
                        [&] { return committed_by_idle() <= 60 * small; }));
  CHECK(pool.statistics().committed >= 4 * deep);
  out.clear();
  CHECK(sooner_or_later([&] { use(pool, shallow, 20); },
                        [&] { return committed_by_idle() <= 60 * small; }));
}

POOLS_WHERE(traits.limit_moves,
            "the depths of tenancies that raised no event are told by those that were measured") {
  StackPool pool(with_retention(Of::strategy, 100));
  use(pool, deep, 20);
  // Half of them go deep: the stacks stay deep, and the statistics tell what samples found.
  int tenancy = 0;
  CHECK(sooner_or_later([&] { use(pool, ++tenancy % 2 == 0 ? deep : shallow, 1); },
                        [&] {
                          const HighWaterDistribution depths = pool.statistics().high_water;
                          return depths.count() > 20'000 &&
                                 depths.stacks[13] > depths.count() / 4 &&
                                 depths.stacks[19] > depths.count() / 4;
                        }));
  const HighWaterDistribution depths = pool.statistics().high_water;
  CHECK(depths.deepest == kept_when_deep);
  CHECK(depths.count() == static_cast<std::uint64_t>(20 + tenancy));
}

POOLS_WHERE(traits.limit_moves, "with a retention of zero no stack is sampled, so all stay deep") {
  StackPool pool(options_for(Of::strategy));
  use(pool, deep, 20);
  use(pool, shallow, 2000);
  CHECK(kept(pool) == kept_when_deep);
  const PoolStatistics figures = pool.statistics();
  CHECK(figures.high_water.count() == 2021);
}

POOLS_WHERE(traits.limit_moves, "a trim of the pool gives all back, and forgets the depth") {
  StackPool pool(options_for(Of::strategy));
  use(pool, deep, 20, "deep");
  use(pool, deep, 20);
  InBackground idle([&] { use_many(pool, deep, 20); });
  pool.trim();
  CHECK(pool.resident() == 0);
  CHECK(pool.statistics().committed <= 60 * warm_size);
  for (const std::string_view name : {"", "deep"}) {
    Stack stack = pool.acquire(name);
    CHECK(stack.committed() == warm_size);
    touch(stack, 20 * KiB);
    CHECK(stack.committed() <= 64 * KiB);
  }
}

POOLS_WHERE(
    traits.limit_moves,
    "a tenant may trim a stack that was kept deep, and the next one finds a mark of its own") {
  StackPool pool(options_for(Of::strategy));
  use(pool, deep, 20);
  std::optional<Stack> stack = pool.acquire();
  CHECK(stack->high_water_mark() == kept_when_deep);
  CHECK(!stack->trim());
  stack.reset();
  stack = pool.acquire();
  CHECK(stack->committed() == warm_size);
  CHECK(stack->high_water_mark() == warm_size);
}

ONE_STRATEGY(Strategy::guard_markers,
             "a stack of guard_markers keeps so little that most of its window is left") {
  PoolOptions options = options_for(Strategy::guard_markers);
  options.reserve = 8 * MiB;
  StackPool pool(options);
  const auto descend_to_end = [](Stack& stack) {
    for (std::size_t depth = 500 * KiB; depth < 6 * MiB; depth += 500 * KiB) {
      touch(stack, depth);
    }
  };
  for (int tenancy = 0; tenancy < 20; ++tenancy) {
    Stack stack = pool.acquire();
    descend_to_end(stack);
  }
  CHECK(kept(pool) == MiB);
  CHECK(pool.resident() <= MiB);
  CHECK(pool.statistics().committed == MiB);
}

// ---- limits -------------------------------------------------------------------------------------

POOLS_WHERE(traits.limit_moves,
            "idle stacks keep at most a fifth of a budget, so a stack that grows finds the rest") {
  PoolOptions options = options_for(Of::strategy);
  options.reserve = 8 * MiB;
  options.budget = 10 * MiB;
  StackPool pool(options);
  for (int round = 0; round < 20; ++round) {
    use_many(pool, deep, 15);
  }
  CHECK(pool.statistics().committed <= 2 * MiB + kept_when_deep);
  Stack stack = pool.acquire();
  CHECK(call(stack, [] { return descend((sanitized ? 100 : 1500) * KiB); }) == 0);
}

POOLS_WHERE(traits.limit_moves,
            "when there may be no more stacks, a shallow tenancy gets a deep one, trimmed") {
  PoolOptions options = options_for(Of::strategy);
  options.most_stacks = 2;
  StackPool pool(options);
  InBackground idle([&] { use(pool, deep, 20, "deep"); });
  std::vector<Stack> stacks = acquire(pool, 2);
  CHECK(stacks[0].committed() == warm_size);
  CHECK(stacks[1].committed() == warm_size);
  CHECK(pool.statistics().created == 2);
}

// ---- threads and children -----------------------------------------------------------------------

POOLS_WHERE(traits.limit_moves,
            "the deep stacks of a thread that ends are found by the others, and its counts stay") {
  StackPool pool(options_for(Of::strategy));
  std::thread([&] {
    use(pool, deep, 20, "deep");
    use(pool, deep, 100, "deep");
  }).join();
  const std::uint64_t before = growth_faults(pool);
  use(pool, deep, 10, "deep");
  CHECK(growth_faults(pool) == before);
  CHECK(pool.statistics().created == 1);
  CHECK(pool.statistics().high_water.count() == 130);
}

POOLS_WHERE(traits.limit_moves,
            "what one thread acquires and another one gives back does not grow each time") {
  StackPool pool(options_for(Of::strategy));
  std::uint64_t before = 0;
  for (int round = 0; round < 100; ++round) {
    std::optional<Stack> stack = pool.acquire("handed on");
    touch(*stack, deep);
    std::thread([&] { stack.reset(); }).join();
    if (round == 50) {
      before = growth_faults(pool);
    }
  }
  CHECK(growth_faults(pool) == before);
}

POOLS_WHERE(traits.limit_moves&& traits.growth_events,
            "a forked child has the deep stacks of all threads, and they work") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer knows no threads after a fork");
  }
  StackPool pool(options_for(Of::strategy));
  use(pool, deep, 20, "deep");
  InBackground idle([&] {
    use(pool, deep, 20, "deep");
    use(pool, shallow, 20);
  });
  CHECK(end_of_child([&] {
          for (int round = 0; round < 3; ++round) {
            std::vector<Stack> stacks;
            while (stacks.size() < 5) {
              stacks.push_back(pool.acquire("deep"));
              if (call(stacks.back(), [] { return descend(100 * KiB); }) != 0) {
                return 1;
              }
            }
          }
          pool.trim();
          return pool.statistics().live == 0 ? 7 : 2;
        }) == 7);
}

// ---- one page -----------------------------------------------------------------------------------

namespace {

GROWSTACK_SCENARIO("one page") {
  StackPool pool(options_for(Strategy::in_handler));
  use(pool, deep, 100);
  require(kept(pool) == handler::page_size(), "a tenancy did not begin with one page");
  return 7;
}

}  // namespace

TEST_CASE(
    "GROWSTACK_INITIAL_COMMIT=page lets every tenancy begin with one page, also after deep ones") {
  setenv("GROWSTACK_INITIAL_COMMIT", "page", 1);
  const Ended ended = run_scenario("one page");
  unsetenv("GROWSTACK_INITIAL_COMMIT");
  CHECK(ended.err == "");
  CHECK(ended.exit_code == 7);
}

// ---- bounds -------------------------------------------------------------------------------------

POOLS_WHERE(traits.limit_moves, "a thread that does nothing does not keep deep stacks for long") {
  StackPool pool(with_retention(Of::strategy, 20));
  const InBackground idle([&] {
    for (int times = 0; times < 8; ++times) {
      use_many(pool, deep, 16);
    }
  });
  const auto committed = [&] { return pool.statistics().committed; };
  CHECK(committed() > 8 * deep);
  // The load goes on to be deep, but with one stack at a time.
  CHECK(sooner_or_later([&] { use(pool, deep); }, [&] { return committed() < 4 * deep; }));
}

POOLS_WHERE(traits.limit_moves, "a thread with many deep names keeps few stacks of each") {
  StackPool pool(options_for(Of::strategy));
  constexpr int names = 40;
  for (int name = 0; name < names; ++name) {
    const std::string its = "name " + std::to_string(name);
    for (int times = 0; times < 8; ++times) {
      std::vector<Stack> stacks;
      while (stacks.size() < 4) {
        stacks.push_back(pool.acquire(its));
        touch(stacks.back(), deep);
      }
    }
  }
  // Four are needed at the same time. A thread keeps 32, one of each name, and some made ahead.
  CHECK(pool.statistics().cached < 3 * names);
}

POOLS_WHERE(
    traits.limit_moves,
    "idle stacks of all pools together keep a fifth of the process budget, and little more") {
  if (sanitized) {
    return skip("a sanitizer lets a process have other budgets");
  }
  CHECK(end_of_child([] {
          growstack::set_process_budget(64 * MiB);
          std::vector<StackPool> pools;
          while (pools.size() < 10) {
            pools.emplace_back(options_for(Of::strategy));
          }
          for (StackPool& pool : pools) {
            for (int times = 0; times < 8; ++times) {
              use_many(pool, deep, 16);
            }
          }
          std::size_t committed = 0;
          for (const StackPool& pool : pools) {
            committed += pool.statistics().committed;
          }
          return committed < 64 * MiB / 4 ? 7 : 1;
        }) == 7);
}
