// Code that follows frame pointers, as profilers do, stops at the first function of a stack. This
// file is compiled with frame pointers, whatever the library is compiled with.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/machine.hpp>
#include <growstack/stack_allocator.hpp>

#include "support/each_strategy.hpp"
#include "support/units.hpp"

#include <pthread.h>
#include <ucontext.h>
#include <boost/context/fiber.hpp>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <utility>

using namespace growstack;
using namespace growstack::testing;

namespace {

/// Where a walk along frame pointers ended.
struct Walk {
  int frames = 0;
  std::uintptr_t last = 1;  ///< the frame pointer that is not one of this stack any more
};

/// Follows the frame pointers of the caller as long as they stay on its stack.
[[gnu::noinline]] Walk walk() {
  const auto bounds = current_stack_bounds();
  Walk walk{.last = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0))};
  const auto base = reinterpret_cast<std::uintptr_t>(bounds->base);
  for (std::uintptr_t before = 0; before < walk.last && walk.last < base; ++walk.frames) {
    before = walk.last;
    walk.last = *reinterpret_cast<const std::uintptr_t*>(walk.last);
  }
  return walk;
}

volatile int zero = 0;

/// Walks from some functions further in.
[[gnu::noinline]] Walk walk_from(int depth) {
  Walk found = depth == 0 ? walk() : walk_from(depth - 1);
  found.frames += zero;
  return found;
}

bool stops(const Walk& found) { return found.last == 0 && found.frames > 10; }

}  // namespace

EVERY_STRATEGY("a walk along frame pointers stops at the first function of a call") {
  if (!Of::traits.own_address_space) {
    return skip("bounds of such a stack are not known");
  }
  Stack stack({.reserve = MiB, .strategy = Of::strategy});
  CHECK(stops(call(stack, walk_from, 10)));
  CHECK(stops(call(stack, [&] { return call({.reserve = MiB}, walk_from, 10); })));
}

TEST_CASE("a walk along frame pointers stops at the first function of a context") {
  const Stack stack({.reserve = MiB});
  struct Contexts {
    ucontext_t here{};
    ucontext_t there{};
    Walk found;
  } contexts;
  make_context(
      contexts.there, stack,
      [](void* given) { static_cast<Contexts*>(given)->found = walk_from(10); }, &contexts,
      &contexts.here);
  swapcontext(&contexts.here, &contexts.there);
  CHECK(stops(contexts.found));
}

TEST_CASE("a walk along frame pointers stops at the first function of a thread") {
  Walk found;
  Thread({.reserve = MiB}, [&] { found = walk_from(10); }).join();
  CHECK(stops(found));

  Walk found_by_create_thread;
  const Stack stack({.reserve = MiB});
  pthread_t thread{};
  REQUIRE(create_thread(
              &thread, stack, nullptr,
              [](void* given) -> void* {
                *static_cast<Walk*>(given) = walk_from(10);
                return given;
              },
              &found_by_create_thread) == 0);
  void* result = nullptr;
  pthread_join(thread, &result);
  CHECK(stops(found_by_create_thread));
  CHECK(result == &found_by_create_thread);
}

TEST_CASE("a walk along frame pointers leaves the stack at the first function of a Boost fiber") {
  namespace context = boost::context;
  Walk found;
  StackBounds bounds;
  context::fiber fiber(std::allocator_arg, stack_allocator({.reserve = MiB}),
                       [&](context::fiber&& back) {
                         bounds = *current_stack_bounds();
                         found = walk_from(10);
                         return std::move(back);
                       });
  fiber = std::move(fiber).resume();
  CHECK(found.frames > 10);
  CHECK((found.last < reinterpret_cast<std::uintptr_t>(bounds.floor) ||
         found.last >= reinterpret_cast<std::uintptr_t>(bounds.base)));
}

TEST_CASE("exceptions and pthread_exit pass the function where such a walk stops") {
  CHECK_THROWS_AS(handler::call_outermost([](void*) { throw std::runtime_error("out"); }, nullptr),
                  std::runtime_error);
  struct Unwound {
    bool& flag;
    ~Unwound() { flag = true; }
  };
  bool unwound = false;
  Thread({.reserve = MiB}, [&] {
    const Unwound on_exit{unwound};
    pthread_exit(nullptr);
  }).join();
  CHECK(unwound);
}
