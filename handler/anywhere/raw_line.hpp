// A line of text that is put together without allocation or stdio, and written with one write(2).
// Signal handlers included.
#pragma once

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <string_view>

namespace growstack::handler {

/// What does not fit is left out.
class RawLine {
 public:
  RawLine& operator<<(std::string_view text) noexcept {
    for (const char letter : text) {
      put(letter);
    }
    return *this;
  }

  RawLine& operator<<(std::uint64_t number) noexcept { return digits(number, 10); }

  /// Adds an address, as 0x...
  RawLine& address(std::uintptr_t value) noexcept {
    *this << "0x";
    return digits(value, 16);
  }

  /// Writes the line, with its newline, to standard error, and empties it. Returns false if
  /// standard error does not take the line within a second, because a pipe that nobody empties must
  /// not keep a process from dying. (A pipe that polls writable has room for a line.) Uses bare
  /// system calls, because those of libc act on a cancellation that the thread has pending.
  [[nodiscard]] bool write_to_stderr() noexcept {
    text_[length_++] = '\n';
    pollfd target{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
    const timespec patience{.tv_sec = 1, .tv_nsec = 0};
    // An error is no answer: poll(2) fails if RLIMIT_NOFILE is 0.
    const bool would_block = syscall(SYS_ppoll, &target, 1, &patience, nullptr, 0) == 0;
    const bool written = !would_block && syscall(SYS_write, STDERR_FILENO, text_.data(), length_) ==
                                             static_cast<long>(length_);
    length_ = 0;
    return written;
  }

 private:
  static constexpr std::size_t capacity = 512;

  void put(char letter) noexcept {
    if (length_ < capacity - 1) {  // one place is kept for the newline
      text_[length_++] = letter;
    }
  }

  RawLine& digits(std::uint64_t number, unsigned radix) noexcept {
    std::array<char, 20> reversed{};
    std::size_t count = 0;
    do {
      reversed[count++] = "0123456789abcdef"[number % radix];
      number /= radix;
    } while (number != 0);
    while (count > 0) {
      put(reversed[--count]);
    }
    return *this;
  }

  std::array<char, capacity> text_;
  std::size_t length_ = 0;
};

}  // namespace growstack::handler
