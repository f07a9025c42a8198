// Shows in one line of the terminal what is being measured. Shows nothing if standard error is a
// file or a pipe.
#pragma once

#include <fmt/format.h>

#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
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
  [[nodiscard]] static int terminal_for_errors() noexcept {
    const char* const kind = std::getenv("TERM");
    const bool knows_control = kind != nullptr && std::string_view(kind) != "dumb";
    return knows_control && isatty(STDERR_FILENO) == 1 ? STDERR_FILENO : -1;
  }

  void say(const std::string& what) {
    if (terminal_ >= 0 && what != shown_) {
      shown_ = what;
      dprintf(terminal_, "\r\033[K%s", what.c_str());
    }
  }
  void say(const std::string& what, std::size_t done, std::size_t all) {
    if (terminal_ >= 0) {
      say(fmt::format("{} {:3}%", what, 100 * done / all));
    }
  }
  /// Erases the line. Call this before anything else is printed.
  void clear() { say(""); }

  [[nodiscard]] int terminal() const noexcept { return terminal_; }

 private:
  int terminal_;
  std::string shown_{};
};

}  // namespace growstack::compare
