// Accounts of committed bytes (memory/account.hpp), in every interleaving of three threads.
//
// What holds in every execution:
// - Nobody is charged beyond a budget: neither that of a pool nor that of the process.
// - What was charged and credited is 0 again; what was refused charges nothing.
// - Of two threads that ask one account for what is left, one gets it.
#include "explorer/modelled.hpp"
#include "models/say.hpp"

#include <doctest/doctest.h>

#include <new>

#include "memory/account.hpp"

namespace modelled {
namespace {

Account process{"the process", nullptr};
Account one_pool{"one", &process};
Account another_pool{"another", &process};
explorer::Atomic<int> granted;

void begin(std::size_t of_process, std::size_t of_pools) {
  new (&process) Account("the process", nullptr, of_process);
  new (&one_pool) Account("one", &process, of_pools);
  new (&another_pool) Account("another", &process, of_pools);
  granted.store(0);
}

void require_within_budgets() {
  explorer::require(process.used() <= process.budget(), "the process is charged beyond its budget");
  explorer::require(one_pool.used() <= one_pool.budget(), "a pool is charged beyond its budget");
}

void charge(Account& account, std::size_t bytes) {
  if (account.charge(bytes)) {
    granted.fetch_add(1, std::memory_order_relaxed);
  }
  require_within_budgets();
}

void charge_and_credit(Account& account, std::size_t bytes) {
  Charge charge(account, bytes);
  require_within_budgets();
}

void explore(::std::function<void()> set_up, ::std::vector<::std::function<void()>> threads,
             ::std::function<void()> check) {
  const explorer::Explored explored =
      explorer::explore({::std::move(set_up), ::std::move(threads), ::std::move(check), {}});
  modelled::say_and_check(explored);
}

}  // namespace

TEST_CASE("of threads that ask for what is left, one gets it, and nobody gets more") {
  explore([] { begin(Account::unlimited, 4); },
          {[] { charge(one_pool, 3); }, [] { charge(one_pool, 3); }, [] { charge(one_pool, 3); }},
          [] {
            explorer::require(granted.load() == 1, "not exactly one gets what is left");
            explorer::require(one_pool.used() == 3 && process.used() == 3,
                              "a refusal has charged something, or a charge was lost");
          });
}

TEST_CASE("two pools never have more than the process may") {
  explore([] { begin(4, Account::unlimited); },
          {[] { charge(one_pool, 3); }, [] { charge(another_pool, 3); }},
          [] {
            explorer::require(granted.load() == 1, "not exactly one pool gets what is left");
            explorer::require(one_pool.used() + another_pool.used() == process.used(),
                              "the process is charged otherwise than its pools");
          });
}

TEST_CASE("what is credited is left again, whoever charges meanwhile") {
  explore([] { begin(8, 4); },
          {[] { charge_and_credit(one_pool, 3); }, [] { charge_and_credit(one_pool, 2); }},
          [] {
            explorer::require(
                process.used() == 0 && one_pool.used() == 0 && another_pool.used() == 0,
                "bytes are lost");
          });
}

}  // namespace modelled
