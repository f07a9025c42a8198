// Who runs a call() on a stack. The running_mark alone does not tell: the thread may not exist any
// more, in a forked child.
#pragma once

#include <pthread.h>

#include <cstdint>

namespace growstack {

/// Written by the thread that begins a call, before anybody can see that it runs.
struct Runner {
  std::uint32_t forks = 0;    ///< how many forks led to the process in which the call began
  pthread_t thread{};         ///< a fork leaves the value of the thread that called it as it is
  std::uintptr_t caller = 0;  ///< an address in the frame from which the call was made

  /// Returns the calling thread, in this process.
  [[nodiscard]] static Runner here(std::uintptr_t caller) noexcept;

  /// Returns whether the thread exists in this process.
  [[nodiscard]] bool exists() const noexcept;
};

}  // namespace growstack
