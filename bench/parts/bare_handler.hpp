// The least that growth by fault can cost: a SIGSEGV handler that only makes the system call.
#pragma once

#include <csignal>
#include <cstddef>
#include <span>
#include <vector>

#include <chrono>

namespace growstack::bench {

/// Address space without access. A handler opens it page by page.
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

/// As long as it exists, SIGSEGV makes the page that faulted readable and writable, wherever that
/// page is. The handler runs on an alternate stack, of one thread only. It checks nothing, so that
/// it costs nothing; a fault of another kind makes the process loop.
class BareHandler {
 public:
  /// Throws std::system_error.
  BareHandler();
  ~BareHandler();  ///< Restores the previous handler and alternate stack.
  BareHandler(const BareHandler&) = delete;
  BareHandler& operator=(const BareHandler&) = delete;

 private:
  std::vector<char> alternate_stack_;
  struct sigaction previous_action_ {};
  stack_t previous_stack_{};
};

/// Times the first touch of each page, one by one, from the end of fresh reserved pages downwards.
/// Waits `idle` before each, unless it is 0. A handler must open the pages.
void time_each_fault(const ReservedPages& pages, std::span<double> nanoseconds,
                     std::chrono::nanoseconds idle);

/// Times such touches on new pages, one for each of the nanoseconds. A BareHandler must exist.
void time_each_bare_fault(std::span<double> nanoseconds, std::chrono::nanoseconds idle);

}  // namespace growstack::bench
