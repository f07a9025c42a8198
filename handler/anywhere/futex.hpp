// futex(2), which libc does not wrap: bare system calls on a word of this process. Signal handlers
// included.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <ctime>

namespace growstack::handler {

/// Waits while the word is `expected`, until somebody wakes it or a signal arrives. Returns true if
/// `patience` ended first.
inline bool futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                       std::chrono::nanoseconds patience) noexcept {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(patience);
  const timespec timeout{.tv_sec = static_cast<time_t>(seconds.count()),
                         .tv_nsec = static_cast<long>((patience - seconds).count())};
  if (syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, &timeout, nullptr, 0) == 0) {
    return false;
  }
  if (errno == EPERM || errno == ENOSYS) {  // a filter forbids it: then whoever waits looks again
    constexpr timespec pause{.tv_sec = 0, .tv_nsec = 1'000'000};
    syscall(SYS_nanosleep, &pause, nullptr);
  }
  return errno == ETIMEDOUT;
}

/// Returns the lower half of a word of 64 bits, which can be a futex.
inline const std::atomic<std::uint32_t>& lower_half(
    const std::atomic<std::uint64_t>& word) noexcept {
  static_assert(std::endian::native == std::endian::little);
  return reinterpret_cast<const std::atomic<std::uint32_t>&>(word);
}

/// Wakes everybody who waits on the word.
inline void futex_wake(const std::atomic<std::uint32_t>& word) noexcept {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace growstack::handler
