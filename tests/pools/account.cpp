// Accounts: committed bytes are charged to a pool and to the whole process, all of them or none.
#include <doctest/doctest.h>

#include "memory/account.hpp"

#include "support/scenario.hpp"
#include "support/units.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <random>
#include <thread>
#include <vector>

using growstack::Account;
using namespace growstack::testing;

// ---- one account --------------------------------------------------------------------------------

TEST_CASE("an account can be charged up to the last byte of its budget, and no further") {
  Account account("the option", nullptr, 100);
  CHECK(account.charge(60));
  CHECK(account.left() == 40);
  CHECK(!account.charge(41));
  CHECK(account.used() == 60);
  CHECK(account.charge(40));
  CHECK(account.left() == 0);
  CHECK(!account.charge(1));
  CHECK(account.charge(0));
  account.set_budget(50);
  CHECK(account.charge(0));
  CHECK(!account.charge(1));
  account.set_budget(100);
  account.credit(100);
  CHECK(account.used() == 0);
  CHECK(account.left() == 100);
}

TEST_CASE("without a budget a charge is too large only if no number can hold the sum") {
  Account account("the option", nullptr);
  CHECK(account.budget() == Account::unlimited);
  CHECK(account.charge(SIZE_MAX - 1));
  CHECK(!account.charge(2));
  CHECK(account.used() == SIZE_MAX - 1);
}

TEST_CASE(
    "if a budget becomes less than what is used, nothing is charged until enough was given back") {
  Account account("the option", nullptr);
  CHECK(account.charge(100));
  account.set_budget(50);
  CHECK(account.left() == 0);
  CHECK(!account.charge(1));
  account.credit(60);
  CHECK(account.left() == 10);
  CHECK(account.charge(10));
  CHECK(!account.charge(1));
}

// ---- a part of a whole --------------------------------------------------------------------------

TEST_CASE(
    "what is charged to a part is also charged to the whole, and the tighter budget of the two "
    "holds") {
  Account whole("the whole", nullptr, 100);
  Account part("the part", &whole, 80);
  Account other("another part", &whole, 80);
  CHECK(part.charge(70));
  CHECK(whole.used() == 70);
  CHECK(other.left() == 30);
  CHECK(!other.charge(31));
  CHECK(other.used() == 0);
  CHECK(whole.used() == 70);
  CHECK(other.charge(30));
  CHECK(!part.charge(1));
  part.credit(70);
  CHECK(whole.used() == 30);
  CHECK(part.left() == 70);
  CHECK(!part.charge(71));
  CHECK(part.used() == 0);
  CHECK(part.charge(70));
}

TEST_CASE("the explanation names the budget that leaves less, and its size") {
  Account whole("the whole", nullptr, 4096);
  Account part("the part", &whole, MiB);
  CHECK(part.charge(1024));
  CHECK(contains(part.explanation(), "the whole is 4 KiB"));
  CHECK(contains(part.explanation(), "1 KiB are committed"));
  whole.set_budget(Account::unlimited);
  CHECK(contains(part.explanation(), "the part is 1 MiB"));
}

// ---- threads ------------------------------------------------------------------------------------

namespace {

/// Charges and gives back until `goes_on` is false, and never holds more than `most` bytes. Returns
/// how often it was refused.
int charge_modestly(Account& account, std::size_t most, const std::atomic<bool>& goes_on,
                    unsigned seed) {
  std::mt19937 random(seed);
  int refused = 0;
  while (goes_on) {
    const std::size_t first = 1 + random() % (most - 1);
    const std::size_t second = most - first;
    const bool has_first = account.charge(first);
    const bool has_second = account.charge(second);
    refused += (has_first ? 0 : 1) + (has_second ? 0 : 1);
    account.credit((has_first ? first : 0) + (has_second ? second : 0));
  }
  return refused;
}

/// Runs charge_modestly() in four threads, two for each account, while `other` runs. Returns how
/// often they were refused.
template <class Other>
int refused_meanwhile(Account& one, Account& two, std::size_t most, const Other& other) {
  std::atomic<bool> goes_on{true};
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (unsigned index = 0; index < 4; ++index) {
    threads.emplace_back([&, index] {
      refused += charge_modestly(index % 2 == 0 ? one : two, most, goes_on, index);
    });
  }
  other();
  goes_on = false;
  for (std::thread& each : threads) {
    each.join();
  }
  return refused;
}

}  // namespace

TEST_CASE("threads are not refused as long as all that they hold fits into the budgets") {
  Account whole("the whole", nullptr, 400);
  Account one("a part", &whole, 200);
  Account two("a part", &whole, 200);
  CHECK(refused_meanwhile(one, two, 100, [] {
          std::this_thread::sleep_for(std::chrono::milliseconds(100));
        }) == 0);
  CHECK(whole.used() == 0);
}

TEST_CASE("who asks for more than the whole has left is in nobody's way") {
  Account whole("the whole", nullptr, 400);
  Account one("a part", &whole, 500);
  Account two("a part", &whole, 500);
  int granted = 0;
  CHECK(refused_meanwhile(one, two, 100, [&] {
          for (int time = 0; time < 2'000'000; ++time) {
            granted += one.charge(401) || two.charge(401) ? 1 : 0;
          }
        }) == 0);
  CHECK(granted == 0);
  CHECK(one.used() == 0);
  CHECK(two.used() == 0);
  CHECK(whole.used() == 0);
}

TEST_CASE(
    "threads that charge and give back at once never exceed a budget, and leave nothing charged") {
  constexpr std::size_t budget = 1000;
  Account whole("the whole", nullptr, budget);
  Account parts[] = {{"a part", &whole, budget * 3 / 4}, {"a part", &whole, budget * 3 / 4}};
  // The threads count themselves: up after a charge, and down before they give it back. So they
  // never count more than is charged.
  std::atomic<std::size_t> held_of_parts[2] = {};
  std::atomic<std::size_t> held{0};
  std::atomic<int> wrong{0};
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (unsigned index = 0; index < 4; ++index) {
    threads.emplace_back([&, index] {
      std::mt19937 random(index);
      Account& part = parts[index % 2];
      std::atomic<std::size_t>& held_of_part = held_of_parts[index % 2];
      std::vector<std::size_t> mine;
      for (int step = 0; step < 20'000; ++step) {
        const std::size_t bytes = 1 + random() % 200;
        if (part.charge(bytes)) {
          mine.push_back(bytes);
          wrong += (held_of_part += bytes) > budget * 3 / 4 ? 1 : 0;
          wrong += (held += bytes) > budget ? 1 : 0;
        } else {
          ++refused;
        }
        if (!mine.empty() && random() % 2 == 0) {
          held -= mine.back();
          held_of_part -= mine.back();
          part.credit(mine.back());
          mine.pop_back();
        }
      }
      for (const std::size_t bytes : mine) {
        held -= bytes;
        held_of_part -= bytes;
        part.credit(bytes);
      }
    });
  }
  for (std::thread& each : threads) {
    each.join();
  }
  CHECK(wrong == 0);
  CHECK(refused > 0);
  CHECK(parts[0].used() == 0);
  CHECK(parts[1].used() == 0);
  CHECK(whole.used() == 0);
}
