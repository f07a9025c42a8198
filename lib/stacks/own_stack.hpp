// The stack that a thread began on.
#pragma once

#include "memory/last_stacks.hpp"

#include <cstdint>

namespace growstack {

/// Describes the stack that the kernel made for the main thread, or that pthread_create(3) made or
/// was given for another one.
struct OwnStack {
  StackExtent extent{};      ///< empty: cannot be known
  std::uintptr_t guard = 0;  ///< lowest address of the guard below
  bool is_main = false;
};

/// Returns the calling thread's stack. Asks the system once, and again if the main thread's limit
/// has changed. Keeps errno. Not from a signal handler.
[[nodiscard]] OwnStack own_stack() noexcept;

}  // namespace growstack
