// Which system call failed. Functions return an errno; the message of whoever gives up because of
// it names the call as well.
#pragma once

#include <growstack/export.hpp>

#include <cstddef>
#include <cstdint>

namespace growstack::handler {

/// Names a system call that may be refused, or a function of pthreads(7) that makes one.
enum class SystemCall : std::uint8_t {
  none,
  close_range,
  fcntl,
  fstat,
  getcontext,
  madvise,
  mlock2,
  mmap,
  mprotect,
  munlock,
  munmap,
  pipe2,
  pthread_create,
  pthread_sigmask,
  sigaction,
  sigaltstack,
  uffdio_api,
  uffdio_copy,
  uffdio_register,
  uffdio_zeropage,
  userfaultfd,
};

/// Notes that the call has just failed in the calling thread, and returns errno. Each thread has a
/// note of its own, of its last failure. Any thread, signal handlers included. Keeps errno.
GROWSTACK_EXPORT int failed(SystemCall call) noexcept;

/// Returns the name of the call that failed last, if that was in the calling thread and with
/// `error`, such as "madvise"; otherwise null. Any thread, signal handlers included.
[[nodiscard]] GROWSTACK_EXPORT const char* call_that_failed(int error) noexcept;

/// Returns the name of an errno that memory, descriptors or threads may fail with, such as "EPERM";
/// null for any other. Any thread, signal handlers included.
[[nodiscard]] GROWSTACK_EXPORT const char* errno_name(int error) noexcept;

/// Holds what a budget said, in bytes.
struct BudgetRefusal {
  std::size_t asked = 0;  ///< how many were asked for at once; 0: not known
  std::size_t left = 0;   ///< how many were left
};

/// Notes what a budget refuses the calling thread, and returns EDQUOT; otherwise as failed().
GROWSTACK_EXPORT int refused_by_budget(BudgetRefusal refusal) noexcept;

/// Returns what a budget refused last, if that was in the calling thread. Any thread, signal
/// handlers included.
[[nodiscard]] GROWSTACK_EXPORT BudgetRefusal budget_refusal() noexcept;

}  // namespace growstack::handler
