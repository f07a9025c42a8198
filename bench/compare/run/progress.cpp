#include "run/progress.hpp"

#include <fmt/format.h>

#include <unistd.h>

#include <cstdlib>

namespace growstack::compare {

int Progress::terminal_for_errors() noexcept {
  const char* const kind = std::getenv("TERM");
  const bool knows_control = kind != nullptr && std::string_view(kind) != "dumb";
  return knows_control && isatty(STDERR_FILENO) == 1 ? STDERR_FILENO : -1;
}

void Progress::put(std::string_view text) const noexcept {
  // A progress line that cannot be written is no reason to stop.
  while (!text.empty()) {
    const ssize_t written = write(terminal_, text.data(), text.size());
    if (written <= 0) {
      return;
    }
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

void Progress::say(std::string_view what) {
  if (terminal_ < 0 || what == shown_) {
    return;
  }
  shown_ = what;
  put(fmt::format("\r\033[K{}", what));
}

void Progress::say(std::string_view what, std::size_t done, std::size_t all) {
  if (terminal_ >= 0) {
    say(fmt::format("{} {:3}%", what, 100 * done / all));
  }
}

void Progress::clear() {
  if (terminal_ >= 0 && !shown_.empty()) {
    put("\r\033[K");
    shown_.clear();
  }
}

}  // namespace growstack::compare
