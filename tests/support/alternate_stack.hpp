// The alternate signal stack of a thread, and threads without one: a sanitizer or a library may
// have given them one.
#pragma once

#include <csignal>

namespace growstack::testing {

/// Takes the alternate signal stack of the calling thread away, and returns what it was.
inline stack_t take_alternate_stack_away() {
  const stack_t none{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
  stack_t before{};
  sigaltstack(&none, &before);
  return before;
}

/// Returns the alternate signal stack of the calling thread.
inline stack_t current_alternate_stack() {
  stack_t current{};
  sigaltstack(nullptr, &current);
  return current;
}

}  // namespace growstack::testing
