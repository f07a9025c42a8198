// A pool and the caches of threads, in every interleaving. What must hold:
//
//     No stack has two tenants, and none is lost: when all are back, each one is cached or cold.
//     No memory of a stack in use is given back.
//     Nothing is touched that was freed, and nothing without an order (races.cpp).
//     Each tenancy is counted once; budgets are credited what they were charged.
//     No thread waits for ever, and a release never fails.
#include <doctest/doctest.h>

#include "models/run_pools.hpp"

#include <sched.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <system_error>
#include <vector>

using namespace growstack;
using interleavings::require;
using ledger::Tenancy;
using namespace std::chrono_literals;

namespace {

PoolOptions options_of(Strategy strategy) {
  return {.reserve = few_in_an_arena,
          .guard = 4096,
          .policy = policy_of_models,
          .strategy = strategy,
          .core_depth = 0,
          .retention = 1ms};
}

std::unique_ptr<StackPool> pool;

void use_a_stack() { const Tenancy tenancy(pool->acquire()); }
void use_a_stack_named(const char* name) { const Tenancy tenancy(pool->acquire(name)); }

void use_a_deep_stack(const char* name = "") {
  const Tenancy tenancy(pool->acquire(name));
  require(ledger::grow(tenancy.stack(), 16 * initial) == 0, "a stack cannot grow");
}

void make_pool(const PoolOptions& options) {
  ledger::begin();
  pool = std::make_unique<StackPool>(options);
}
void make_pool(Strategy strategy) { make_pool(options_of(strategy)); }

/// What must hold when all stacks are back: then ends the pool.
void end_pool(std::uint64_t tenancies) {
  const PoolStatistics figures = pool->statistics();
  require(figures.live == 0, "a stack is lost: it counts as live");
  require(figures.cached + figures.cold == ledger::open_stacks(), "the pool has lost a stack");
  require(figures.high_water.count() == tenancies, "tenancies are not counted once each");
  require(figures.hits + figures.misses == tenancies, "acquisitions are not counted once each");
  require(figures.committed == ledger::committed(), "the account has not what stacks have");
  pool.reset();
  require_nothing_left();
}

/// Eight deep tenancies in a row: from now on stacks are kept that deep.
void learn_to_keep_deep(const char* name = "") {
  for (int tenancy = 0; tenancy < 8; ++tenancy) {
    use_a_deep_stack(name);
  }
}

/// Both strategies: what a pool does not need is closed, or stays open without memory.
constexpr std::array both{ledger::closes, ledger::stays_open};

}  // namespace

TEST_CASE("threads that acquire and give back never have the same stack") {
  for (const Strategy strategy : both) {
    check({[=] { make_pool(strategy); },
           {[] {
              use_a_stack();
              use_a_stack();
            },
            use_a_stack, use_a_stack},
           [] { end_pool(4); }});
  }
}

TEST_CASE("a trim takes from the cache of another thread only what nobody uses") {
  for (const Strategy strategy : both) {
    check({[=] { make_pool(strategy); },
           {[] {
              use_a_stack();
              use_a_stack();
            },
            [] { pool->trim(); }},
           [] { end_pool(2); }});
  }
}

TEST_CASE("a stack that one thread acquired goes back into the cache of another") {
  static std::atomic<Tenancy*> handed_on;
  check({[] {
           make_pool(ledger::closes);
           handed_on = nullptr;
         },
         {[] {
            use_a_stack();
            handed_on.store(new Tenancy(pool->acquire()), std::memory_order_release);
          },
          [] { delete handed_on.exchange(nullptr, std::memory_order_acquire); },
          [] { pool->trim(); }},
         [] {
           delete handed_on.exchange(nullptr);
           end_pool(2);
         }});
}

TEST_CASE("the pool takes over what a thread keeps that ends") {
  check({[] { make_pool(ledger::closes); },
         {[] {
            use_a_stack();
            interleavings::end_thread();
          },
          use_a_stack, [] { pool->trim(); }},
         [] { end_pool(2); }});
}

TEST_CASE("a thread that has ended its caches can still give back, and acquire") {
  check({[] { make_pool(ledger::closes); },
         {[] {
            {
              const Tenancy tenancy(pool->acquire());
              interleavings::end_thread();
            }
            use_a_stack();
          },
          [] {
            use_a_stack();
            pool->trim();
          }},
         [] { end_pool(3); }});
}

TEST_CASE("a stack that another thread keeps for itself is better than none") {
  static std::atomic<int> begun;
  static std::atomic<int> ended;
  static std::atomic<int> refused;
  const auto use_the_only_one = [] {
    const int alone = ended.load() + 1;
    begun.fetch_add(1);
    try {
      use_a_stack();
    } catch (const std::system_error&) {
      require(begun.load() != alone, "a thread gets no stack, and nobody else wanted one");
      ++refused;
    }
    ++ended;
  };
  check({[] {
           make_pool(ledger::closes);
           ledger::limit_stacks(1);
           begun = ended = refused = 0;
         },
         {use_the_only_one, use_the_only_one},
         [] { end_pool(2 - static_cast<std::uint64_t>(refused)); }});
}

TEST_CASE("demand falls while others use stacks: arenas end in which nobody is") {
  for (const Strategy strategy : both) {
    check({[=] {
             make_pool(strategy);
             std::vector<Stack> many;
             for (int stack = 0; stack < 6; ++stack) {
               many.push_back(pool->acquire());
             }
           },
           {[] {
              use_a_stack();
              use_a_stack();
            },
            [] {
              ledger::let_time_pass(5'000'000);
              use_a_stack_named("another");
            }},
           [] { end_pool(9); }});
  }
}

TEST_CASE("the cache of a thread that gave nothing back goes to the pool, whatever it does next") {
  static std::vector<Tenancy> tenancies;
  check({[] {
           make_pool(ledger::closes);
           tenancies.emplace_back(pool->acquire());
           interleavings::end_thread();
         },
         {[] {
            use_a_stack();
            use_a_stack();
          },
          [] {
            ledger::let_time_pass(200'000'000);
            tenancies.clear();
          }},
         [] { end_pool(3); }});
}

TEST_CASE("stacks that are too deep leave a cache only while its owner is outside") {
  check({[] {
           make_pool(ledger::closes);
           learn_to_keep_deep();
         },
         {use_a_stack,
          [] {
            pool->trim();
            use_a_stack();
          }},
         [] { end_pool(10); }});
}

TEST_CASE("no stack stays deeper than it is kept, unless a mark says so") {
  static std::vector<Tenancy> tenancies;
  check({[] {
           make_pool(ledger::closes);
           learn_to_keep_deep();
           tenancies.emplace_back(pool->acquire());
           interleavings::end_thread();
         },
         {[] {
            require(ledger::grow(tenancies.front().stack(), 20 * initial) == 0, "no growth");
            tenancies.clear();
          },
          [] {
            pool->trim();
            use_a_stack();
          }},
         [] { end_pool(10); },
         [] {
           require(!ledger::has_deep_stack_unmarked(),
                   "a stack stays deep, and nothing says that it is too deep");
         }});
}

TEST_CASE("stacks of a name that are kept apart come back, also while a trim forgets the depth") {
  check({[] {
           make_pool(ledger::closes);
           learn_to_keep_deep("deep");
         },
         {[] { use_a_stack_named("deep"); }, [] { pool->trim(); }},
         [] { end_pool(9); }});
}

TEST_CASE("the last two stacks of a pool that has ended come back at once: it ends once") {
  static std::unique_ptr<Tenancy> first;
  static std::unique_ptr<Tenancy> second;
  for (const Strategy strategy : both) {
    check({[=] {
             make_pool(strategy);
             first = std::make_unique<Tenancy>(pool->acquire());
             second = std::make_unique<Tenancy>(pool->acquire());
             pool.reset();
           },
           {[] { first.reset(); }, [] { second.reset(); }},
           require_nothing_left});
  }
}

TEST_CASE("a pool ends while a thread ends that has a cache of it") {
  static std::atomic<bool> is_used;
  check({[] {
           make_pool(ledger::closes);
           is_used = false;
         },
         {[] {
            use_a_stack();
            is_used.store(true, std::memory_order_release);
            interleavings::end_thread();
          },
          [] {
            while (!is_used.load(std::memory_order_acquire)) {
              sched_yield();
            }
            pool.reset();
            pool = std::make_unique<StackPool>(options_of(ledger::closes));  // in its place
          }},
         [] { end_pool(0); }});
}

TEST_CASE("a thread that has a cache of a pool which has ended uses the next pool") {
  static std::atomic<int> stage;
  check({[] {
           make_pool(ledger::closes);
           stage = 0;
         },
         {[] {
            use_a_stack();
            stage.store(1, std::memory_order_release);
            while (stage.load(std::memory_order_acquire) == 1) {
              sched_yield();
            }
            use_a_stack();
          },
          [] {
            while (stage.load(std::memory_order_acquire) == 0) {
              sched_yield();
            }
            pool = std::make_unique<StackPool>(options_of(ledger::closes));
            stage.store(2, std::memory_order_release);
          }},
         [] { end_pool(1); }});
}

TEST_CASE("what two threads grow at once is charged and credited exactly") {
  static std::vector<Tenancy> tenancies;
  constexpr auto grow = [](std::size_t depth) {
    static_cast<void>(ledger::grow(tenancies.front().stack(), depth));
  };
  check({[] {
           make_pool(ledger::closes);
           tenancies.emplace_back(pool->acquire());
         },
         {[=] { grow(2 * initial); }, [=] { grow(5 * initial); }},
         [] {
           tenancies.clear();
           end_pool(1);
         }});
}

TEST_CASE("growth of two stacks never exceeds the budget, and all of it is credited") {
  static std::vector<Tenancy> tenancies;
  static std::atomic<int> grown;
  constexpr auto grow = [](std::size_t which) {
    grown += ledger::grow(tenancies[which].stack(), 3 * initial) == 0 ? 1 : 0;
    require(ledger::committed() <= 5 * initial, "more is committed than the budget allows");
  };
  check({[] {
           PoolOptions options = options_of(ledger::closes);
           options.budget = 5 * initial;
           make_pool(options);
           tenancies.emplace_back(pool->acquire());
           tenancies.emplace_back(pool->acquire());
           grown = 0;
         },
         {[=] { grow(0); }, [=] { grow(1); }},
         [] {
           require(grown > 0, "nobody could grow, although there was room for one");
           tenancies.clear();
           end_pool(2);
         }});
}

TEST_CASE("a forked child has a pool that works, whatever its other threads were at") {
  static bool is_child;
  static std::atomic<bool> is_in_use;
  check({[] {
           make_pool(ledger::closes);
           is_child = false;
           is_in_use = false;
         },
         {[] {
            for (int round = 0; round < 2; ++round) {
              is_in_use = true;
              use_a_stack();
              is_in_use = false;
            }
          },
          [] {
            use_a_stack();
            interleavings::fork_here([] {
              is_child = true;
              use_a_stack();
              pool->trim();
              use_a_stack();
            });
          }},
         [] {
           if (is_child) {
             interleavings::end_thread();
             require(ledger::give_back_lost() <= (is_in_use ? 1U : 0U),
                     "the child has lost more than what was in use");
             pool.reset();
             require_nothing_left();
           } else {
             end_pool(3);
           }
         }});
}
