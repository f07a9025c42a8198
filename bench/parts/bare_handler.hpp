// The floor of every growth by fault: a SIGSEGV handler with nothing in it but the system call.
#pragma once

#include <csignal>
#include <cstddef>
#include <span>
#include <vector>

#include <chrono>

namespace growstack::bench {

/// Address space without access for the time of its life, which the handler below opens page by
/// page.
class ReservedPages {
 public:
  /// Throws std::system_error.
  explicit ReservedPages(std::size_t bytes);
  ~ReservedPages();
  ReservedPages(const ReservedPages&) = delete;
  ReservedPages& operator=(const ReservedPages&) = delete;

  [[nodiscard]] volatile char* begin() const noexcept { return begin_; }
  [[nodiscard]] volatile char* end() const noexcept { return begin_ + bytes_; }

 private:
  char* begin_ = nullptr;
  std::size_t bytes_;
};

/// While it lives, SIGSEGV makes the page that faulted readable and writable, on an alternate
/// stack, wherever that page is. For one thread; a process with faults of other kinds loops.
/// Nothing in it checks anything, that is its point.
class BareHandler {
 public:
  /// Throws std::system_error.
  BareHandler();
  ~BareHandler();  ///< Puts the previous handler and alternate stack back.
  BareHandler(const BareHandler&) = delete;
  BareHandler& operator=(const BareHandler&) = delete;

 private:
  std::vector<char> alternate_stack_;
  struct sigaction previous_action_ {};
  stack_t previous_stack_{};
};

/// Times the first touch of each page, one by one, from the end of fresh reserved pages downwards.
/// Waits `idle` before each, if it is not 0. Some handler must open them.
void time_each_fault(const ReservedPages& pages, std::span<double> nanoseconds,
                     std::chrono::nanoseconds idle);

/// The same on pages of its own. A BareHandler must live.
void time_each_bare_fault(std::span<double> nanoseconds, std::chrono::nanoseconds idle);

}  // namespace growstack::bench
