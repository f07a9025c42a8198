#include "run/progress.hpp"

#include <fmt/format.h>

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace growstack::compare {
namespace {

constexpr const char* erase_line = "\r\033[K";

}  // namespace

int Progress::terminal_for_errors() noexcept {
  const char* const kind = std::getenv("TERM");
  const bool knows_control = kind != nullptr && std::string_view(kind) != "dumb";
  return knows_control && isatty(STDERR_FILENO) == 1 ? STDERR_FILENO : -1;
}

void Progress::say(std::string_view what) {
  if (terminal_ >= 0 && what != shown_) {
    shown_ = what;
    dprintf(terminal_, "%s%s", erase_line, shown_.c_str());
  }
}

void Progress::say(std::string_view what, std::size_t done, std::size_t all) {
  if (terminal_ >= 0) {
    say(fmt::format("{} {:3}%", what, 100 * done / all));
  }
}

void Progress::clear() {
  if (terminal_ >= 0 && !shown_.empty()) {
    dprintf(terminal_, "%s", erase_line);
    shown_.clear();
  }
}

}  // namespace growstack::compare
