// Boost.Context and Boost.Coroutine2 on growable stacks: stack_allocator and
// pooled_stack_allocator.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/stack_allocator.hpp>

#include "support/alternate_stack.hpp"
#include "support/descend.hpp"
#include "support/pools.hpp"
#include "support/recursion.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <boost/context/fiber.hpp>
#include <boost/coroutine2/all.hpp>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace growstack;
using namespace growstack::testing;
namespace context = boost::context;

namespace {

using Numbers = boost::coroutines2::coroutine<std::size_t>;

// Not constant, because a compiler warns of a function that never returns.
volatile bool always = true;

bool has_alternate_stack() {
  stack_t current{};
  sigaltstack(nullptr, &current);
  return (current.ss_flags & SS_DISABLE) == 0 &&
         current.ss_size >= handler::least_alternate_stack_size();
}

}  // namespace

TYPE_TO_STRING_AS("stack_allocator", stack_allocator);
TYPE_TO_STRING_AS("pooled_stack_allocator", pooled_stack_allocator);

#define EITHER_ALLOCATOR(promise) \
  TEST_CASE_TEMPLATE(promise, Allocator, stack_allocator, pooled_stack_allocator)

EITHER_ALLOCATOR("a fiber of Boost.Context goes as deep as it needs, and its stack is given back") {
  const std::size_t before = process_counters().stacks;
  const Allocator allocator(64 * MiB);
  const std::size_t with_allocator = process_counters().stacks;
  std::size_t wrong = 1;
  {
    context::fiber fiber(std::allocator_arg, allocator, [&](context::fiber&& back) {
      wrong = descend(10 * MiB);
      back = std::move(back).resume();
      wrong += descend(20 * MiB);
      return std::move(back);
    });
    fiber = std::move(fiber).resume();
    CHECK(wrong == 0);
    fiber = std::move(fiber).resume();
    CHECK_FALSE(fiber);
  }
  CHECK(wrong == 0);
  CHECK(process_counters().stacks <= std::max(with_allocator, before));
}

EITHER_ALLOCATOR(
    "a coroutine recurses deep between two values, and only its allocator was changed") {
  Numbers::pull_type numbers(Allocator(256 * MiB), [](Numbers::push_type& yield) {
    for (std::size_t frames = 1000; frames <= deep; frames *= 10) {
      yield(recurse(frames));
    }
  });
  std::size_t expected = 1000;
  for (const std::size_t number : numbers) {
    CHECK(number == expected);
    expected *= 10;
  }
  CHECK(expected > 10'000);
}

EITHER_ALLOCATOR("a coroutine that is left in the middle unwinds and gives its stack back") {
  if (under_address_sanitizer) {
    return skip(
        "Boost.Context tells AddressSanitizer of its switches "
        "only if it was built for that, and unwinding confuses it");
  }
  const auto owned = std::make_shared<int>(1);
  const Allocator allocator(16 * MiB);
  const std::size_t before = process_counters().stacks;
  {
    Numbers::pull_type numbers(
        allocator, [owned](Numbers::push_type& yield) { below_frames(1000, [&] { yield(1); }); });
    CHECK(numbers.get() == 1);
    CHECK(owned.use_count() > 1);
  }
  CHECK(owned.use_count() == 1);
  CHECK(process_counters().stacks == before);
}

EITHER_ALLOCATOR("exceptions cross from a coroutine to its caller") {
  Numbers::pull_type numbers(Allocator(), [](Numbers::push_type& yield) {
    yield(1);
    below_frames(1000, [] {
      if (always) {
        throw std::runtime_error("from below");
      }
    });
  });
  CHECK_THROWS_WITH_AS(numbers(), "from below", std::runtime_error);
}

EITHER_ALLOCATOR("to allocate a stack attaches the thread") {
  const Allocator allocator(16 * MiB);
  std::size_t wrong = 1;
  std::thread([&] {
    take_alternate_stack_away();
    Allocator mine = allocator;
    context::stack_context stack = mine.allocate();
    CHECK(has_alternate_stack());
    mine.deallocate(stack);
    context::fiber fiber(std::allocator_arg, mine, [&](context::fiber&& back) {
      wrong = descend(8 * MiB);
      return std::move(back);
    });
    fiber = std::move(fiber).resume();
  }).join();
  CHECK(wrong == 0);
}

EITHER_ALLOCATOR("a fiber may be resumed by a thread that was attached, and end there") {
  std::size_t wrong = 1;
  context::fiber fiber(std::allocator_arg, Allocator(16 * MiB), [&](context::fiber&& back) {
    wrong = descend(8 * MiB);
    return std::move(back);
  });
  std::thread([&] {
    attach_thread();
    fiber = std::move(fiber).resume();
  }).join();
  CHECK(wrong == 0);
}

namespace {

/// Ends the process in a fiber. Allocator, fiber and a stack that is used afterwards are static.
template <class Allocator>
int exits_in_fiber() {
  static Stack used_last({.reserve = 16 * MiB});
  static const struct UsesStack {
    ~UsesStack() {
      require(call(used_last, [] { return descend(8 * MiB); }) == 0, "used last");
    }
  } uses_stack;
  static const Allocator allocator(16 * MiB);
  static context::fiber fiber(std::allocator_arg, allocator, [](context::fiber&& back) {
    require(descend(8 * MiB) == 0, "depth");
    std::exit(7);
    return std::move(back);
  });
  fiber = std::move(fiber).resume();
  return 1;
}

const Scenario exits[]{
    {"exit in a fiber of stack_allocator", exits_in_fiber<stack_allocator>},
    {"exit in a fiber of pooled_stack_allocator", exits_in_fiber<pooled_stack_allocator>}};

}  // namespace

TEST_CASE("exit in a fiber of Boost.Context ends the process as anywhere else") {
  CHECK(run_scenario("exit in a fiber of stack_allocator").exit_code == 7);
  CHECK(run_scenario("exit in a fiber of pooled_stack_allocator").exit_code == 7);
}

namespace {

int resumes_where_nothing_is_attached() {
  no_core();
  context::fiber fiber(std::allocator_arg, stack_allocator(16 * MiB), [](context::fiber&& back) {
    descend(8 * MiB);
    return std::move(back);
  });
  std::thread([&] {
    take_alternate_stack_away();
    fiber = std::move(fiber).resume();
  }).join();
  return 0;
}

int overflows(bool pooled) {
  no_core();
  const auto body = [](context::fiber&& back) {
    descend(2 * MiB);
    return std::move(back);
  };
  context::fiber fiber = pooled
                             ? context::fiber(std::allocator_arg, pooled_stack_allocator(MiB), body)
                             : context::fiber(std::allocator_arg, stack_allocator(MiB), body);
  fiber = std::move(fiber).resume();
  return 0;
}

}  // namespace

GROWSTACK_SCENARIO("resumed by a thread that is not attached") {
  return resumes_where_nothing_is_attached();
}
GROWSTACK_SCENARIO("fiber overflows") { return overflows(false); }
GROWSTACK_SCENARIO("pooled fiber overflows") { return overflows(true); }

TEST_CASE(
    "a thread that was not attached dies of SIGSEGV at the first growth, without a word from us") {
  const Ended ended = run_scenario("resumed by a thread that is not attached");
  CHECK(ended.signal == SIGSEGV);
  CHECK(ended.err == "");
}

TEST_CASE("a fiber that overflows is reported") {
  for (const char* const scenario : {"fiber overflows", "pooled fiber overflows"}) {
    const Ended ended = run_scenario(scenario);
    CHECK(ended.signal == SIGSEGV);
    CHECK(contains(ended.err, "stack overflow"));
    CHECK(contains(ended.err, "\"fiber\""));
  }
}

TEST_CASE("an allocator can be given options and a strategy") {
  std::size_t wrong = 1;
  for (const Strategy strategy :
       {Strategy::pipe_helper, Strategy::in_handler, Strategy::demand_paging}) {
    stack_allocator allocator(
        StackOptions{.reserve = 16 * MiB, .strategy = strategy, .name = "mine"});
    context::stack_context stack = allocator.allocate();
    CHECK(stack.size == 16 * MiB);
    const auto bounds = stack_bounds(static_cast<char*>(stack.sp) - 1);
    REQUIRE(bounds);
    CHECK(bounds->base == stack.sp);
    allocator.deallocate(stack);
    context::fiber fiber(std::allocator_arg, allocator, [&](context::fiber&& back) {
      wrong = descend(8 * MiB);
      return std::move(back);
    });
    fiber = std::move(fiber).resume();
    CHECK(wrong == 0);
  }
}

TEST_CASE("an allocator from the heap is refused, and no stack is left behind") {
  const std::size_t before = process_counters().stacks;
  stack_allocator allocator(StackOptions{.reserve = MiB, .strategy = Strategy::heap});
  CHECK(contains(error_of([&] { static_cast<void>(allocator.allocate()); }),
                 "heap: no address leads back"));
  CHECK(process_counters().stacks == before);
  CHECK(contains(error_of([] { pooled_stack_allocator(PoolOptions{.strategy = Strategy::heap}); }),
                 "heap"));
}

TEST_CASE(
    "copies of a pooled allocator share the pool, and a stack that comes back is allocated again") {
  const pooled_stack_allocator allocator(MiB);
  pooled_stack_allocator copy = allocator;
  context::stack_context stack = copy.allocate();
  CHECK(allocator.pool().statistics().live == 1);
  void* const first = stack.sp;
  copy.deallocate(stack);
  stack = copy.allocate();
  CHECK(stack.sp == first);
  copy.deallocate(stack);
  const PoolStatistics figures = allocator.pool().statistics();
  CHECK(figures.live == 0);
  CHECK(figures.hits >= 1);

  const auto shared = std::make_shared<StackPool>(PoolOptions{.reserve = MiB});
  CHECK(&pooled_stack_allocator(shared).pool() == shared.get());
}

TEST_CASE("a fiber outlives the allocator that it came from") {
  std::optional<pooled_stack_allocator> allocator(std::in_place, 16 * MiB);
  std::size_t wrong = 1;
  context::fiber fiber(std::allocator_arg, *allocator, [&](context::fiber&& back) {
    wrong = descend(8 * MiB);
    return std::move(back);
  });
  allocator.reset();
  fiber = std::move(fiber).resume();
  CHECK(wrong == 0);
}
