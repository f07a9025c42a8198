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

/// Returns the calling thread's stack. Asks the system only once. Keeps errno. Not from a signal
/// handler.
[[nodiscard]] OwnStack own_stack() noexcept;

/// Asks the system anew if the limit of the main thread's stack has changed since it was asked, and
/// returns whether it has. This takes a system call. Only for the main thread.
[[nodiscard]] bool renew_own_stack() noexcept;

}  // namespace growstack
