// Shows in one line of the terminal what is being measured. Shows nothing if standard error is a
// file or a pipe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace growstack::compare {

class Progress {
 public:
  /// Writes to that descriptor; -1 for silence.
  explicit Progress(int terminal) noexcept : terminal_(terminal) {}
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Returns the descriptor of standard error if that is a terminal, otherwise -1.
  [[nodiscard]] static int terminal_for_errors() noexcept;

  void say(std::string_view what);
  void say(std::string_view what, std::size_t done, std::size_t all);
  /// Erases the line. Call this before anything else is printed.
  void clear();

  [[nodiscard]] int terminal() const noexcept { return terminal_; }

 private:
  int terminal_;
  std::string shown_;
};

}  // namespace growstack::compare
