// Threads without an alternate signal stack, which sanitizers and libraries may have given them.
#pragma once

#include <csignal>

namespace growstack::testing {

/// Takes the calling thread's away, and tells what it was.
inline stack_t take_alternate_stack_away() {
  const stack_t none{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
  stack_t before{};
  sigaltstack(&none, &before);
  return before;
}

}  // namespace growstack::testing
