// What is being done, in one line on a terminal that changes; nothing where standard error is a
// file or a pipe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace growstack::compare {

class Progress {
 public:
  /// -1: silent.
  explicit Progress(int terminal) noexcept : terminal_(terminal) {}
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// The descriptor of standard error if that is a terminal, otherwise -1.
  [[nodiscard]] static int terminal_for_errors() noexcept;

  void say(std::string_view what);
  void say(std::string_view what, std::size_t done, std::size_t all);
  /// Before anything else is printed.
  void clear();

  [[nodiscard]] int terminal() const noexcept { return terminal_; }

 private:
  void put(std::string_view text) const noexcept;

  int terminal_;
  std::string shown_;
};

}  // namespace growstack::compare
