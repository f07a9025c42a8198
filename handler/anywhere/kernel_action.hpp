// Actions of signals as the kernel has them (rt_sigaction(2), "C library/kernel differences").
// sigaction(3) of libc hides the signals that libc keeps for itself, and a program may replace it.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace growstack::handler {

/// The kernel's struct of an action.
struct KernelAction {
  void (*handler)(int) = nullptr;
  unsigned long flags = 0;
  void (*restorer)() = nullptr;
  std::uint64_t mask = 0;
};

/// Reads an action. Returns 0 or an errno. Signal handlers included.
[[nodiscard]] inline int get_kernel_action(int signal, KernelAction& action) noexcept {
  return syscall(SYS_rt_sigaction, signal, nullptr, &action, sizeof action.mask) == 0 ? 0 : errno;
}

/// Sets an action. Returns 0 or an errno. Signal handlers included.
[[nodiscard]] inline int set_kernel_action(int signal, const KernelAction& action) noexcept {
  return syscall(SYS_rt_sigaction, signal, &action, nullptr, sizeof action.mask) == 0 ? 0 : errno;
}

}  // namespace growstack::handler
