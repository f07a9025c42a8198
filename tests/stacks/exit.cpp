// exit(3) while code runs on a stack that objects with static storage own. The end of the process
// destroys these objects, and runs on the stack that they would end.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/pools.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <ucontext.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>

using namespace growstack;
using namespace growstack::testing;

namespace {

constexpr int exit_code = 7;

StackOptions single(const Traits& traits) {
  return {.reserve = 4 * MiB, .strategy = traits.strategy};
}

/// Goes deep on another stack.
void use_another_stack(const StackOptions& options) {
  require(call(options, [] { return descend(3 * MiB); }) == 0, "another stack");
  std::puts("used another stack");
}

/// Uses another stack when it is destroyed.
struct UsesAnotherStack {
  StackOptions options;
  ~UsesAnotherStack() { use_another_stack(options); }
};

/// Goes deep where it is called, and ends the process there.
void grow_and_exit() {
  require(descend(500 * KiB) == 0, "depth");
  std::exit(exit_code);
}

// Each of these has an object that is destroyed before the stack, and one that is destroyed after
// it.

int on_static(const Traits& traits) {
  static const UsesAnotherStack after{single(traits)};
  static Stack stack(single(traits));
  static const UsesAnotherStack before{single(traits)};
  call(stack, grow_and_exit);
  return 1;
}

int on_thread_local(const Traits& traits) {
  static const UsesAnotherStack after{single(traits)};
  static thread_local Stack stack(single(traits));
  static thread_local const UsesAnotherStack before{single(traits)};
  call(stack, grow_and_exit);
  return 1;
}

int in_another_thread(const Traits& traits) {
  static const UsesAnotherStack after{single(traits)};
  static Stack stack(single(traits));
  static const UsesAnotherStack before{single(traits)};
  std::thread([] { call(stack, grow_and_exit); }).join();
  return 1;
}

int nested(const Traits& traits) {
  static const UsesAnotherStack after{single(traits)};
  static Stack outer(single(traits));
  static Stack inner(single(traits));
  static const UsesAnotherStack before{single(traits)};
  call(outer, [] {
    descend(MiB);
    call(inner, grow_and_exit);
  });
  return 1;
}

int below_a_local_one(const Traits& traits) {
  static const UsesAnotherStack after{single(traits)};
  static Stack outer(single(traits));
  static const UsesAnotherStack before{single(traits)};
  call(outer, [&] {
    Stack inner(single(traits));
    call(inner, grow_and_exit);
  });
  return 1;
}

int in_a_context(const Traits& traits) {
  static const UsesAnotherStack after{single(traits)};
  static Stack stack(single(traits));
  static const UsesAnotherStack before{single(traits)};
  ucontext_t here{};
  ucontext_t there{};
  make_context(
      there, stack, [](void*) { grow_and_exit(); }, nullptr, &here);
  swapcontext(&here, &there);
  return 1;
}

int in_a_child(const Traits& traits) {
  static const UsesAnotherStack after{single(traits)};
  static Stack stack(single(traits));
  static const UsesAnotherStack before{single(traits)};
  const int end = end_of_child([] {
    call(stack, grow_and_exit);
    return 1;
  });
  std::exit(end);
}

int in_an_exit_handler(const Traits& traits) {
  static const StackOptions options = single(traits);
  static Stack stack(single(traits));
  std::atexit([] { use_another_stack(options); });
  std::atexit([] { use_another_stack(options); });
  call(stack, grow_and_exit);
  return 1;
}

int static_of_a_pool(const Traits& traits) {
  static const UsesAnotherStack after{single(traits)};
  static StackPool pool(options_for(traits.strategy));
  static Stack stack = pool.acquire();
  static const UsesAnotherStack before{single(traits)};
  call(stack, grow_and_exit);
  return 1;
}

int static_of_a_pool_in_a_context(const Traits& traits) {
  static const UsesAnotherStack after{single(traits)};
  static StackPool pool(options_for(traits.strategy));
  static Stack stack = pool.acquire();
  static const UsesAnotherStack before{single(traits)};
  ucontext_t here{};
  ucontext_t there{};
  make_context(
      there, stack, [](void*) { std::exit(exit_code); }, nullptr, &here);
  swapcontext(&here, &there);
  return 1;
}

int thread_local_of_a_pool(const Traits& traits) {
  static const UsesAnotherStack after{single(traits)};
  static StackPool pool(options_for(traits.strategy));
  static thread_local Stack stack = pool.acquire();
  static const UsesAnotherStack before{single(traits)};
  call(stack, grow_and_exit);
  return 1;
}

int local_of_a_pool(const Traits& traits) {
  static const UsesAnotherStack after{single(traits)};
  static StackPool pool(options_for(traits.strategy));
  static const UsesAnotherStack before{single(traits)};
  Stack stack = pool.acquire();
  call(stack, grow_and_exit);
  return 1;
}

int nested_of_a_pool(const Traits& traits) {
  static const UsesAnotherStack after{single(traits)};
  static StackPool pool(options_for(traits.strategy));
  static Stack outer = pool.acquire();
  static Stack inner = pool.acquire();
  static const UsesAnotherStack before{single(traits)};
  call(outer, [] {
    descend(500 * KiB);
    call(inner, grow_and_exit);
  });
  return 1;
}

/// The pool serves the objects that are destroyed while it exists.
int of_a_pool_that_goes_on(const Traits& traits) {
  static const UsesAnotherStack after{single(traits)};
  static StackPool pool(options_for(traits.strategy));
  static struct UsesThePool {
    ~UsesThePool() {
      Stack other = pool.acquire();
      require(call(other, [] { return descend(500 * KiB); }) == 0, "another stack of the pool");
      pool.trim();
      std::puts("used another stack");
    }
  } const uses_the_pool;
  static Stack stack = pool.acquire();
  call(stack, grow_and_exit);
  return 1;
}

/// The same, where nothing marks the stack: it has not grown, and no call() runs there.
int in_a_context_of_a_pool_that_goes_on(const Traits& traits) {
  static const UsesAnotherStack after{single(traits)};
  static StackPool pool(options_for(traits.strategy));
  static const void* running = nullptr;
  static struct UsesThePool {
    ~UsesThePool() {
      Stack other = pool.acquire();
      require(other.base() != running, "another stack than the one that runs");
      require(call(other, [] { return descend(500 * KiB); }) == 0, "another stack of the pool");
      pool.trim();
      std::puts("used another stack");
    }
  } const uses_the_pool;
  static Stack stack = pool.acquire();
  running = stack.base();
  ucontext_t here{};
  ucontext_t there{};
  make_context(
      there, stack, [](void*) { std::exit(exit_code); }, nullptr, &here);
  swapcontext(&here, &there);
  return 1;
}

/// A local variable that is alive on the outer stack when the process ends from the inner one.
const int* alive = nullptr;

/// Looks at that variable when it is destroyed, after another stack was used, which may have got
/// the memory of a stack that was ended too early.
struct LooksBack {
  StackOptions options;
  ~LooksBack() {
    use_another_stack(options);
    require(*alive == 42, "a local variable of the outer stack");
  }
};

[[noreturn]] void exit_from(Stack& inner, Stack& outer) {
  call(outer, [&] {
    const int local = 42;
    alive = &local;
    asm volatile("" : : "r"(alive) : "memory");
    call(inner, grow_and_exit);
  });
  std::abort();
}

int nested_with_a_look_back(const Traits& traits) {
  static const UsesAnotherStack after{single(traits)};
  static const LooksBack looks_back{single(traits)};
  static Stack outer(single(traits));
  static Stack inner(single(traits));
  exit_from(inner, outer);
}

int nested_of_a_pool_with_a_look_back(const Traits& traits) {
  static const UsesAnotherStack after{single(traits)};
  static const LooksBack looks_back{single(traits)};
  static StackPool pool(options_for(traits.strategy));
  static Stack outer = pool.acquire();
  static Stack inner = pool.acquire();
  exit_from(inner, outer);
}

int in_a_thread_on_a_pool(const Traits& traits) {
  static const UsesAnotherStack after{single(traits)};
  static StackPool pool(options_for(traits.strategy));
  static const UsesAnotherStack before{single(traits)};
  Thread(pool.acquire(), grow_and_exit).join();
  return 1;
}

#define SCENARIO_OF_EACH(name) const ScenarioOfEach<name> name##_of_each(#name)
SCENARIO_OF_EACH(on_static);
SCENARIO_OF_EACH(on_thread_local);
SCENARIO_OF_EACH(in_another_thread);
SCENARIO_OF_EACH(nested);
SCENARIO_OF_EACH(below_a_local_one);
SCENARIO_OF_EACH(in_a_context);
SCENARIO_OF_EACH(in_a_child);
SCENARIO_OF_EACH(in_an_exit_handler);
SCENARIO_OF_EACH(static_of_a_pool);
SCENARIO_OF_EACH(static_of_a_pool_in_a_context);
SCENARIO_OF_EACH(thread_local_of_a_pool);
SCENARIO_OF_EACH(local_of_a_pool);
SCENARIO_OF_EACH(nested_of_a_pool);
SCENARIO_OF_EACH(of_a_pool_that_goes_on);
SCENARIO_OF_EACH(in_a_context_of_a_pool_that_goes_on);
SCENARIO_OF_EACH(nested_with_a_look_back);
SCENARIO_OF_EACH(nested_of_a_pool_with_a_look_back);
SCENARIO_OF_EACH(in_a_thread_on_a_pool);

/// Checks that the exit code arrives, and that what runs at the end could use other stacks.
template <std::size_t count>
void check_exits(const std::array<const char*, count>& scenarios, const Traits& traits) {
  for (const char* const scenario : scenarios) {
    CAPTURE(std::string(scenario));
    const Ended ended = run_scenario_of(scenario, traits);
    CAPTURE(ended.err);
    CAPTURE(ended.signal);
    CHECK(ended.exit_code == exit_code);
    CHECK(matches(ended.out, "used another stack\n(.|\n)*used another stack\n"));
  }
}

}  // namespace

EVERY_STRATEGY("exit on a stack that outlives main ends the process as anywhere else") {
  check_exits(std::array{"on_static", "on_thread_local", "in_another_thread", "in_a_context",
                         "in_an_exit_handler"},
              Of::traits);
}

EVERY_STRATEGY("exit in nested calls ends the process as anywhere else") {
  check_exits(std::array{"nested", "below_a_local_one"}, Of::traits);
}

STRATEGIES_WHERE(traits.own_address_space,
                 "exit in nested calls leaves the frames of the outer call in place") {
  check_exits(std::array{"nested_with_a_look_back"}, Of::traits);
}

EVERY_STRATEGY("exit on a stack in a child of fork ends the child as anywhere else") {
  if (sanitized) {
    return skip(
        "a sanitizer's own locks are not free in a child that is forked while threads start");
  }
  check_exits(std::array{"in_a_child"}, Of::traits);
}

EVERY_POOL("exit on a stack of a pool that outlives main ends the process as anywhere else") {
  check_exits(std::array{"static_of_a_pool", "static_of_a_pool_in_a_context",
                         "thread_local_of_a_pool", "local_of_a_pool", "nested_of_a_pool",
                         "of_a_pool_that_goes_on", "in_a_context_of_a_pool_that_goes_on",
                         "nested_of_a_pool_with_a_look_back", "in_a_thread_on_a_pool"},
              Of::traits);
}

GROWSTACK_SCENARIO("a pooled stack is given back by code that runs on it") {
  static StackPool& pool = *new StackPool({.reserve = 4 * MiB});
  static std::optional<Stack> stack;
  static const void* base;
  stack.emplace(pool.acquire());
  base = stack->base();
  call(*stack, [] {
    descend(500 * KiB);
    std::atexit([] {
      stack.reset();
      const Stack next = pool.acquire();
      std::_Exit(next.base() != base ? exit_code : 1);
    });
    std::exit(2);
  });
  return 3;
}

TEST_CASE("a pooled stack is not given out again while the end of the process runs on it") {
  CHECK(run_scenario("a pooled stack is given back by code that runs on it").exit_code ==
        exit_code);
}
