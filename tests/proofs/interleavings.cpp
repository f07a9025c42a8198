// The search for interleavings itself: programs of which is known how many they have, and programs
// with a fault. The latter run in a child, because their threads never end.
#include "interleavings/interleavings.hpp"

#include <doctest/doctest.h>

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

using growstack::interleavings::explore;
using growstack::interleavings::Explored;
using growstack::interleavings::fork_here;
using growstack::interleavings::Model;
using growstack::interleavings::require;

namespace {

/// Returns how many executions a model has that has no fault.
std::uint64_t executions_of(const Model& model) {
  const Explored explored = explore(model);
  CHECK_MESSAGE(explored.fault.empty(), explored.fault);
  return explored.executions;
}

/// Returns the fault that a model has.
std::string fault_of(const Model& model) {
  std::array<int, 2> ends{};
  REQUIRE(pipe(ends.data()) == 0);
  const pid_t child = fork();
  if (child == 0) {
    const std::string fault = explore(model).fault;
    const bool is_written = write(ends[1], fault.data(), fault.size()) >= 0;
    _exit(is_written ? 0 : 1);
  }
  close(ends[1]);
  std::array<char, 200> text{};
  const ssize_t length = read(ends[0], text.data(), text.size());
  close(ends[0]);
  waitpid(child, nullptr, 0);
  return {text.data(), static_cast<std::size_t>(length > 0 ? length : 0)};
}

bool is_fault(const std::string& fault, const std::string& expected) {
  return fault.substr(0, expected.size()) == expected;
}

const std::function<void()> nothing = [] {};

std::atomic<int> x;
std::atomic<int> y;
int data;
std::mutex lock;
std::mutex other_lock;

void begin() {
  x = 0;
  y = 0;
  data = 0;
}

void count_locked() {
  const std::lock_guard guard(lock);
  ++data;
}

}  // namespace

TEST_CASE("steps that do not depend on each other are tried in one order") {
  CHECK(executions_of({begin, {[] { x = x + 1; }, [] { y = y + 1; }}, nothing}) == 1);
}

TEST_CASE("steps that depend on each other are tried in each order, once") {
  const auto thrice = [](int value) {
    return [value] {
      x = value;
      x = value;
      x = value;
    };
  };
  CHECK(executions_of({begin, {[] { ++x; }, [] { ++x; }}, [] { require(x == 2, "2"); }}) == 2);
  CHECK(executions_of({begin, {[] { x = 1; }, [] { x = 2; }, [] { x = 3; }}, nothing}) == 6);
  CHECK(executions_of({begin, {thrice(1), thrice(2)}, nothing}) == 20);
}

TEST_CASE("each load reads what was stored last, so one of two threads sees the other") {
  static int first;
  static int second;
  static std::set<std::pair<int, int>> seen;
  CHECK(executions_of({begin,
                       {[] {
                          x = 1;
                          first = y;
                        },
                        [] {
                          y = 1;
                          second = x;
                        }},
                       [] { seen.emplace(first, second); }}) == 3);
  CHECK(seen == std::set<std::pair<int, int>>{{0, 1}, {1, 0}, {1, 1}});
}

TEST_CASE("a mutex lets its threads in in each order") {
  CHECK(executions_of({begin, {count_locked, count_locked, count_locked}, [] {
                         require(data == 3, "3");
                       }}) == 6);
  const auto twice = [] {
    count_locked();
    count_locked();
  };
  CHECK(executions_of({begin, {twice, twice}, [] { require(data == 4, "4"); }}) == 6);
}

TEST_CASE("a thread that only waits goes on when what it waits for has changed") {
  CHECK(executions_of({begin,
                       {[] {
                          data = 1;
                          x.store(1, std::memory_order_release);
                        },
                        [] {
                          while (x.load(std::memory_order_acquire) == 0) {
                            sched_yield();
                          }
                          require(data == 1, "the data is not there");
                        }},
                       nothing}) == 2);
}

TEST_CASE("each thread has thread-local variables of its own, which begin anew each time") {
  static thread_local int local = 5;
  const auto count = [](int more) {
    return [more] {
      local += more;
      x = local;
      require(local == 5 + more, "it is not its own");
    };
  };
  CHECK(executions_of({begin, {count(1), count(2)}, [] { require(local == 5, "main"); }}) == 2);
}

TEST_CASE("a child is forked at each moment of the other threads, which are gone then") {
  static std::set<int> found;
  CHECK(executions_of({begin,
                       {[] {
                          x = 1;
                          x = 2;
                        },
                        [] { fork_here([] { found.insert(x); }); }},
                       nothing}) >= 4);
  CHECK(found == std::set<int>{0, 1, 2});
}

TEST_CASE("a lost update is found") {
  const auto add = [] {
    const int before = x;
    x = before + 1;
  };
  CHECK(is_fault(fault_of({begin, {add, add}, [] { require(x == 2, "lost"); }}), "lost"));
}

TEST_CASE("a store that publishes nothing is found by the data that it does not publish") {
  CHECK(is_fault(fault_of({begin,
                           {[] {
                              data = 1;
                              x.store(1, std::memory_order_relaxed);
                            },
                            [] {
                              if (x.load(std::memory_order_acquire) == 1) {
                                data = 2;
                              }
                            }},
                           nothing}),
                 "a write is not ordered with another write"));
}

TEST_CASE("data that one thread uses without the lock is found") {
  CHECK(is_fault(fault_of({begin, {count_locked, [] { ++data; }}, nothing}),
                 "a read is not ordered with a write"));
}

TEST_CASE("threads that take two locks in two orders wait for each other for ever") {
  const auto take = [](std::mutex& first, std::mutex& second) {
    return [&] {
      const std::lock_guard one(first);
      const std::lock_guard another(second);
    };
  };
  CHECK(is_fault(fault_of({begin, {take(lock, other_lock), take(other_lock, lock)}, nothing}),
                 "threads wait for each other for ever"));
}

TEST_CASE("memory that is used after it was freed is found") {
  static int* block;
  CHECK(is_fault(fault_of({[] {
                             begin();
                             block = new int(0);
                           },
                           {[] {
                              x.fetch_add(1);
                              delete block;
                              x.fetch_add(1);
                            },
                            [] {
                              if (x.fetch_add(0) == 2) {
                                *block = 1;
                              }
                            }},
                           nothing}),
                 "memory is used after it was freed"));
}

TEST_CASE("a mutex that another thread unlocks is found") {
  CHECK(is_fault(fault_of({begin, {[] { lock.unlock(); }}, nothing}),
                 "a mutex is unlocked by a thread that has not locked it"));
}
