// A pool and the caches of threads, in every interleaving. What must hold:
//
//     No stack has two tenants, and none is lost: when all are back, each one is cached or cold.
//     No memory of a stack in use is given back.
//     Nothing is touched that was freed, and nothing without an order (races.cpp).
//     Each tenancy is counted once; budgets are credited what they were charged.
//     No thread waits for ever, and a release never fails.
#include <doctest/doctest.h>

#include "interleavings/interleavings.hpp"
#include "memory/account.hpp"
#include "models/ledger.hpp"

#include <chrono>
#include <memory>
#include <optional>
#include <system_error>

using namespace growstack;
using interleavings::explore;
using interleavings::Explored;
using interleavings::Model;
using interleavings::require;
using ledger::Tenancy;
using namespace std::chrono_literals;

namespace {

/// Arenas of few stacks, so that several arenas are soon needed.
constexpr std::size_t few_in_an_arena = std::size_t{16} << 30;
constexpr std::size_t initial = std::size_t{8} * 1024;

PoolOptions options_of(Strategy strategy) {
  return {.reserve = few_in_an_arena,
          .guard = 4096,
          .policy = {.initial_commit = initial,
                     .factor = 2,
                     .least_step = 4096,
                     .largest_step = std::size_t{1} << 20,
                     .headroom = 0,
                     .huge_from = 0},
          .strategy = strategy,
          .core_depth = 0,
          .retention = 1ms};
}

std::unique_ptr<StackPool> pool;

void use_a_stack() { const Tenancy tenancy(pool->acquire()); }

void make_pool(Strategy strategy) {
  ledger::begin();
  pool = std::make_unique<StackPool>(options_of(strategy));
}

/// What must hold when all stacks are back: then ends the pool.
void end_pool(std::uint64_t tenancies) {
  const PoolStatistics figures = pool->statistics();
  require(figures.live == 0, "a stack is lost: it counts as live");
  require(figures.cached + figures.cold == ledger::open_stacks(), "the pool has lost a stack");
  require(figures.high_water.count() == tenancies, "tenancies are not counted once each");
  require(figures.hits + figures.misses == tenancies, "acquisitions are not counted once each");
  require(figures.committed == ledger::committed(), "the account has not what stacks have");
  pool.reset();
  require(ledger::open_stacks() == 0, "the end of a pool leaves a stack behind");
  require(ledger::reservations() == 0, "the end of a pool leaves address space behind");
  require(process_account().used() == 0, "the end of a pool leaves a charge behind");
}

void check(const Model& model) {
  const Explored explored = explore(model);
  MESSAGE(explored.executions << " executions, " << explored.redundant << " redundant, "
                              << explored.steps << " steps");
  CHECK_MESSAGE(explored.fault.empty(), explored.fault << "\n" << explored.trace);
}

}  // namespace

TEST_CASE("two threads that acquire and give back never have the same stack") {
  for (const Strategy strategy : {ledger::closes, ledger::stays_open}) {
    check({[=] { make_pool(strategy); },
           {use_a_stack, use_a_stack},
           [] { end_pool(2); }});
  }
}

TEST_CASE("a trim takes from the cache of another thread only what nobody uses") {
  check({[] { make_pool(ledger::closes); },
         {[] {
            use_a_stack();
            use_a_stack();
          },
          [] { pool->trim(); }},
         [] { end_pool(2); }});
}
