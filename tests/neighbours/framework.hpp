// What the tests of test frameworks share. Each function returns true if it could go deep, so that
// the framework's own assertion tells. Each framework has a program of its own, because it installs
// its signal handlers in the whole process.
#pragma once

#include <growstack/growstack.hpp>
#include <growstack/stack_pool.hpp>

#include "support/recursion.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <cstddef>

namespace growstack::testing {

/// A depth of some 2.5 MB, in frames.
inline constexpr std::size_t depth = deep / 10;

inline bool grows_on(Stack& stack) {
  const std::size_t at_first = stack.committed();
  return call(stack, recurse, depth) == depth && stack.committed() > at_first;
}

inline bool grows_on_new_stack() {
  Stack stack({.reserve = 64 * MiB, .strategy = Strategy::pipe_helper});
  return grows_on(stack);
}

/// Every call finds the pool that the first one made, and a stack that grew before.
inline bool grows_on_pooled_stack() {
  static StackPool pool({.reserve = 64 * MiB, .strategy = Strategy::in_handler});
  Stack stack = pool.acquire();
  return grows_on(stack);
}

inline bool grows_on_thread() {
  std::size_t reached = 0;
  Thread({.reserve = 64 * MiB}, [&reached] { reached = recurse(depth); }).join();
  return reached == depth;
}

/// A null pointer, of which the optimizer knows nothing.
inline void crash() {
  no_core();
  int* nowhere = nullptr;
  asm volatile("" : "+r"(nowhere));
  *static_cast<volatile int*>(nowhere) = 1;
}

inline void crash_after_growth() {
  if (grows_on_new_stack()) {
    crash();
  }
}

inline void crash_in_call() {
  call({.reserve = 64 * MiB}, [] {
    static_cast<void>(recurse(depth));
    crash();
  });
}

}  // namespace growstack::testing
