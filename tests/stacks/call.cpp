// call(): it runs any callable on another stack as if the callable were called here. What goes in,
// what comes out, and what may happen in between.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/sanitized.hpp"
#include "support/units.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cfenv>
#include <exception>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace growstack::testing;
using growstack::call;
using growstack::Stack;
using growstack::StackBounds;
using growstack::StackOptions;

namespace {

int twice(int number) { return 2 * number; }

struct Account {
  int balance = 0;
  int deposit(int amount) { return balance += amount; }
  [[nodiscard]] int shown() const { return balance; }
};

/// Is as deep as the larger frames and the shadow stacks of sanitizers allow.
constexpr int deep = sanitized ? 20'000 : 1'000'000;

int depth(int left) {
  if (left == 0) {
    return 0;
  }
  const int below = depth(left - 1);
  asm volatile("" : : "r"(&below) : "memory");  // no tail call, no loop
  return below + 1;
}

struct Deep : std::runtime_error {
  explicit Deep(int at) : std::runtime_error("thrown deep"), level(at) {}
  int level;
};

[[gnu::noinline]] int throw_at(int left, int level) {
  if (left == 0) {
    throw Deep(level);
  }
  const int below = throw_at(left - 1, level);
  asm volatile("" : : "r"(&below) : "memory");
  return below;
}

/// Counts its own copies and moves.
struct Witness {
  Witness() = default;
  Witness(const Witness& other) : copies(other.copies + 1), moves(other.moves) {}
  Witness(Witness&& other) noexcept : copies(other.copies), moves(other.moves + 1) {}
  int copies = 0;
  int moves = 0;
};

}  // namespace

// ---- what goes in and comes out -----------------------------------------------------------------

TEST_CASE("a value comes back") {
  CHECK(call(StackOptions{}, twice, 21) == 42);
  CHECK(call(StackOptions{}, [] { return std::string("grown"); }) == "grown");
}

TEST_CASE("a callable that returns nothing runs once") {
  int runs = 0;
  call(StackOptions{}, [&] { ++runs; });
  CHECK(runs == 1);
  static_assert(std::is_void_v<decltype(call(StackOptions{}, [] {}))>);
}

TEST_CASE("a reference comes back as the reference it was") {
  int number = 1;
  const int constant = 2;
  // These have names, because gcc 14 suspects a reference into a temporary argument otherwise.
  const StackOptions options;
  const auto to_constant = [&]() -> const int& { return constant; };
  const auto to_rvalue = [&]() -> int&& { return std::move(number); };
  int& same = call(options, [&]() -> int& { return number; });
  const int& same_constant = call(options, to_constant);
  int&& same_rvalue = call(options, to_rvalue);
  CHECK(&same == &number);
  CHECK(&same_constant == &constant);
  CHECK(&same_rvalue == &number);
}

TEST_CASE("arguments arrive as they were passed, and are not copied") {
  Witness here;
  const Witness* seen = nullptr;
  call(
      StackOptions{}, [&](Witness& there) { seen = &there; }, here);
  CHECK(seen == &here);
  call(
      StackOptions{}, [&](const Witness& there) { seen = &there; }, here);
  CHECK(seen == &here);
  const Witness passed = call(
      StackOptions{}, [](Witness there) { return there; }, std::move(here));
  CHECK(passed.copies == 0);
}

TEST_CASE("what can only be moved is moved in and out") {
  auto number = std::make_unique<int>(7);
  const int* const address = number.get();
  const std::unique_ptr<int> back = call(
      StackOptions{}, [](std::unique_ptr<int> taken) { return taken; }, std::move(number));
  CHECK(number == nullptr);
  CHECK(back.get() == address);
}

TEST_CASE("a callable that can only be moved is called where it is") {
  auto callable = [owned = std::make_unique<int>(5)]() { return *owned; };
  CHECK(call(StackOptions{}, std::move(callable)) == 5);
  CHECK(call(StackOptions{}, callable) == 5);
}

TEST_CASE("a constant result comes back, and so does one without a default constructor") {
  struct NoDefault {
    explicit NoDefault(int given) : value(given) {}
    int value;
  };
  CHECK(call(StackOptions{}, []() -> const std::string { return "constant"; }) == "constant");
  CHECK(call(StackOptions{}, [] { return NoDefault(3); }).value == 3);
}

TEST_CASE("member functions and data members are called as std::invoke calls them") {
  Account account;
  CHECK(call(StackOptions{}, &Account::deposit, account, 10) == 10);
  CHECK(call(StackOptions{}, &Account::deposit, &account, 5) == 15);
  CHECK(call(StackOptions{}, &Account::shown, std::as_const(account)) == 15);
  call(StackOptions{}, &Account::balance, account) = 1;
  CHECK(account.balance == 1);
}

// ---- exceptions ---------------------------------------------------------------------------------

TEST_CASE("an exception arrives with its type and contents") {
  CHECK_THROWS_WITH_AS(call(StackOptions{}, [] { throw std::out_of_range("too far"); }), "too far",
                       std::out_of_range);
  CHECK_THROWS_AS(call(StackOptions{}, []() -> int { throw 5; }), int);
}

TEST_CASE("an exception arrives as the same object") {
  const void* thrown = nullptr;
  const void* caught = nullptr;
  try {
    call(StackOptions{}, [&] {
      try {
        throw Deep(1);
      } catch (const Deep& error) {
        thrown = &error;
        throw;
      }
    });
  } catch (const Deep& error) {
    caught = &error;
    CHECK(error.level == 1);
  }
  CHECK(thrown != nullptr);
  CHECK(caught == thrown);
}

TEST_CASE("an exception unwinds a deep recursion and runs destructors on its way") {
  const auto witness = std::make_shared<int>(0);
  try {
    call(StackOptions{}, [witness] {
      const std::shared_ptr<int> held = witness;
      throw_at(10'000, 3);
    });
    FAIL("nothing was thrown");
  } catch (const Deep& error) {
    CHECK(error.level == 3);
  }
  CHECK(witness.use_count() == 1);
}

TEST_CASE("a stack whose call threw can be used again") {
  Stack stack;
  for (int round = 0; round < 3; ++round) {
    CHECK_THROWS_AS(call(stack, throw_at, 1000, round), Deep);
    CHECK(call(stack, twice, round) == 2 * round);
  }
}

TEST_CASE("the exception being handled is the same on both stacks") {
  std::string seen;
  try {
    throw std::runtime_error("handled here");
  } catch (const std::exception&) {
    call(StackOptions{}, [&] {
      try {
        std::rethrow_exception(std::current_exception());
      } catch (const std::exception& error) {
        seen = error.what();
      }
    });
  }
  CHECK(seen == "handled here");
}

TEST_CASE("an exception crosses nested calls") {
  CHECK_THROWS_AS(
      call(StackOptions{},
           [] { call(StackOptions{}, [] { call(StackOptions{}, throw_at, 100, 9); }); }),
      Deep);
}

// ---- nesting, reuse, threads --------------------------------------------------------------------

TEST_CASE("a recursion runs that is far too deep for an ordinary stack") {
  CHECK(call(StackOptions{}, depth, deep) == deep);
}

namespace {

int nest(int left, std::vector<const void*>& floors) {
  const auto bounds = growstack::current_stack_bounds();
  floors.push_back(bounds ? bounds->floor : nullptr);
  return left == 0 ? 0 : 1 + call(StackOptions{.reserve = MiB}, nest, left - 1, floors);
}

}  // namespace

TEST_CASE("calls nest a hundred deep, each on a stack of its own") {
  std::vector<const void*> floors;
  CHECK(call(StackOptions{.reserve = MiB}, nest, 99, floors) == 99);
  std::sort(floors.begin(), floors.end());
  CHECK(floors.size() == 100);
  CHECK(floors.front() != nullptr);
  CHECK(std::adjacent_find(floors.begin(), floors.end()) == floors.end());
  CHECK(growstack::process_counters().stacks == 0);
}

TEST_CASE("one stack serves many calls") {
  Stack stack;
  const void* const base = stack.base();
  int sum = 0;
  for (int round = 0; round < 10'000; ++round) {
    sum += call(stack, twice, 1);
  }
  CHECK(sum == 20'000);
  CHECK(stack.base() == base);
  CHECK(stack.counters().growth_faults == 0);
}

TEST_CASE("a thousand calls in a row, made by a function that calls nothing else, leave no trace") {
  std::thread([] {
    Stack stack;
    for (int times = 0; times < 1000; ++times) {
      call(stack, [] {});
    }
  }).join();
  for (int times = 0; times < 1000; ++times) {
    call(StackOptions{.reserve = 2 * MiB}, [] {});
  }
}

TEST_CASE("memory that a call has grown is there for the next one") {
  Stack stack;
  call(stack, [] { descend(4 * MiB); });
  const std::uint32_t faults = stack.counters().growth_faults;
  CHECK(faults > 0);
  call(stack, [] { descend(4 * MiB); });
  CHECK(stack.counters().growth_faults == faults);
}

TEST_CASE("a stack that runs a call refuses another") {
  Stack stack;
  CHECK_THROWS_AS(call(stack, [&] { call(stack, [] {}); }), std::system_error);
  int code = 0;
  std::string message;
  call(stack, [&] {
    try {
      call(stack, [] {});
    } catch (const std::system_error& error) {
      code = error.code().value();
      message = error.what();
    }
  });
  CHECK(code == EBUSY);
  CHECK(message.find("a call runs on this stack already") != std::string::npos);
  CHECK(call(stack, twice, 1) == 2);
}

TEST_CASE("a stack that runs a call refuses a call by another thread") {
  Stack stack;
  std::atomic<int> code{0};
  call(stack, [&] {
    std::thread([&] {
      try {
        call(stack, [] {});
      } catch (const std::system_error& error) {
        code = error.code().value();
      }
    }).join();
  });
  CHECK(code == EBUSY);
}

TEST_CASE("threads call at once, each on a stack of its own") {
  constexpr int threads = 8;
  std::array<int, threads> results{};
  std::vector<std::thread> running;
  for (int index = 0; index < threads; ++index) {
    running.emplace_back([&results, index] {
      results[static_cast<std::size_t>(index)] = call(StackOptions{}, depth, deep / 10 + index);
    });
  }
  for (std::thread& each : running) {
    each.join();
  }
  for (int index = 0; index < threads; ++index) {
    CHECK(results[static_cast<std::size_t>(index)] == deep / 10 + index);
  }
}

TEST_CASE("thread-local variables are those of the calling thread") {
  static thread_local int mine = 0;
  mine = 1;
  const int* const here = &mine;
  const int* there = nullptr;
  std::thread::id thread;
  call(StackOptions{}, [&] {
    there = &mine;
    thread = std::this_thread::get_id();
  });
  CHECK(there == here);
  CHECK(thread == std::this_thread::get_id());
}

TEST_CASE("errno survives growth") {
  const int kept = call(StackOptions{}, [] {
    errno = ERANGE;
    descend(8 * MiB);
    return errno;
  });
  CHECK(kept == ERANGE);
}

// ---- the object ---------------------------------------------------------------------------------

TEST_CASE("a moved stack keeps its place and contents") {
  Stack first({.name = "moved"});
  call(first, [] { descend(MiB); });
  const void* const base = first.base();
  const std::size_t committed = first.committed();
  Stack second(std::move(first));
  CHECK(second.base() == base);
  CHECK(second.committed() == committed);
  CHECK(second.name() == "moved");
  CHECK(call(second, twice, 4) == 8);
  first = Stack({.name = "another"});
  CHECK(first.base() != base);
  CHECK(growstack::process_counters().stacks == 2);
  first = std::move(second);  // releases what it had
  CHECK(first.base() == base);
  CHECK(growstack::process_counters().stacks == 1);
  static_assert(!std::is_copy_constructible_v<Stack> && !std::is_copy_assignable_v<Stack>);
}

TEST_CASE("a stack may move to another thread between two calls") {
  Stack stack;
  CHECK(call(stack, depth, deep / 10) == deep / 10);
  std::thread([moved = std::move(stack)]() mutable {
    const int reached = call(moved, depth, deep / 5);
    CHECK(reached == deep / 5);
  }).join();
  CHECK(growstack::process_counters().stacks == 0);
}

// ---- where am I? --------------------------------------------------------------------------------

TEST_CASE("outside of a call there are no current bounds") {
  CHECK(!growstack::current_stack_bounds());
  const int local = 0;
  CHECK(!growstack::stack_bounds(&local));
  CHECK(Stack::trim_current() == std::errc::invalid_argument);
}

TEST_CASE(
    "inside of a call the current bounds are those of its stack, "
    "and contain the address of every local variable") {
  Stack stack;
  std::optional<StackBounds> bounds;
  bool holds_local = false;
  const void* limit = nullptr;
  call(stack, [&] {
    bounds = growstack::current_stack_bounds();
    limit = stack.limit();
    holds_local =
        bounds && !bounds->contains(&bounds) && bounds->contains(__builtin_frame_address(0));
  });
  REQUIRE(bounds);
  CHECK(holds_local);
  CHECK(bounds->base == stack.base());
  CHECK(bounds->floor == stack.floor());
  CHECK(bounds->limit == limit);
  CHECK(static_cast<char*>(bounds->floor) - static_cast<char*>(bounds->guard) == 64 * KiB);
}

TEST_CASE(
    "any address leads to its stack, from the first byte of the guard to the last below the base") {
  const auto at = [](const char* address) { return growstack::stack_bounds(address); };
  auto stack = std::make_unique<Stack>();
  auto* const base = static_cast<char*>(stack->base());
  auto* const floor = static_cast<char*>(stack->floor());
  REQUIRE(at(base - 1));
  CHECK(at(base - 1)->contains(base - 1));
  CHECK(!at(base - 1)->contains(base));
  REQUIRE(at(floor));
  CHECK(at(floor)->contains(floor));
  REQUIRE(at(floor - 1));
  CHECK(!at(floor - 1)->contains(floor - 1));
  CHECK(at(static_cast<const char*>(at(floor)->guard)));
  CHECK(!at(base));
  stack.reset();
  CHECK(!at(base - 1));
}

// ---- forks --------------------------------------------------------------------------------------

namespace {

/// Calls body() while a call runs on the stack in another thread.
template <class Body>
int while_it_runs_elsewhere(Stack& stack, const Body& body) {
  std::atomic<bool> runs{false};
  std::atomic<bool> may_end{false};
  std::thread other([&] {
    call(stack, [&] {
      runs = true;
      runs.notify_all();
      may_end.wait(false);
    });
  });
  runs.wait(false);
  const int result = body();
  may_end = true;
  may_end.notify_all();
  other.join();
  return result;
}

/// Uses a stack as its owner may if nothing runs there.
bool is_usable(Stack& stack, const Traits& traits) {
  return call(stack, [] { return descend(200 * KiB); }) == 0 && !(traits.trims && stack.trim());
}

}  // namespace

EVERY_STRATEGY(
    "in a forked child no call of another thread runs, and the child's own calls go on") {
  if (sanitized) {
    return skip("a sanitizer knows no threads after a fork");
  }
  Stack stack({.reserve = 4 * MiB, .strategy = Of::strategy});
  Stack own({.reserve = 4 * MiB, .strategy = Of::strategy});
  const int end = while_it_runs_elsewhere(stack, [&] {
    return call(own, [&] {
      return end_of_child([&] {
        const bool usable = is_usable(stack, Of::traits);
        const bool own_is_busy = own.trim() == std::errc::device_or_resource_busy;
        const int grandchild = end_of_child([&] {
          const bool still_busy = own.trim() == std::errc::device_or_resource_busy;
          return still_busy && is_usable(stack, Of::traits) ? 7 : 2;
        });
        return usable && own_is_busy && grandchild == 7 ? 7 : 1;
      });
    });
  });
  CHECK(end == 7);
  CHECK(is_usable(stack, Of::traits));
  CHECK(is_usable(own, Of::traits));
}

EVERY_STRATEGY(
    "a call starts with its caller's floating-point environment, and what it sets does not come "
    "back") {
  Stack stack({.reserve = 8 * MiB, .strategy = Of::strategy});
  const auto a_third = [] {  // fegetround(3) does not ask the unit that computes this
    volatile double one = 1;
    volatile double three = 3;
    return one / three;
  };
  REQUIRE(std::fesetround(FE_UPWARD) == 0);
  const double upward = a_third();
  const int inside = call(stack, [] {
    const int found = std::fegetround();
    std::fesetround(FE_DOWNWARD);
    return found;
  });
  const int afterwards = std::fegetround();
  const double still_upward = a_third();
  std::fesetround(FE_TONEAREST);
  CHECK(inside == FE_UPWARD);
  CHECK(afterwards == FE_UPWARD);
  CHECK(still_upward == upward);
}
