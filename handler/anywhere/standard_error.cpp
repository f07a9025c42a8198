#include "anywhere/standard_error.hpp"

#include "anywhere/own_descriptor.hpp"

#include <asm/termbits.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

namespace growstack::handler {
namespace {

/// Waits until a descriptor takes something, for a second at most. Returns false if it did not. An
/// error is no answer: poll(2) fails if RLIMIT_NOFILE is 0.
bool wait_for_room(int descriptor) noexcept {
  pollfd target{.fd = descriptor, .events = POLLOUT, .revents = 0};
  const timespec patience{.tv_sec = 1, .tv_nsec = 0};
  return syscall(SYS_ppoll, &target, 1, &patience, nullptr, 0) != 0;
}

/// Returns a second descriptor of the standard error of the process, which /proc finds from each
/// thread, if one is needed:
/// - for a terminal, so that a write does not wait: a terminal polls writable while it has room for
///   one letter, and then a line would wait for the rest. (A pipe that polls writable has room for
///   a line.)
/// - for a thread of ours, which keeps nothing open but what it needs.
/// Returns -1 if none is needed, or none can be opened.
int reopen_if_needed() noexcept {
  termios settings{};
  if (ioctl(STDERR_FILENO, TCGETS, &settings) != 0 && errno == ENOTTY) {
    return -1;  // any other error, one of a filter for instance, does not tell
  }
  return static_cast<int>(syscall(SYS_openat, AT_FDCWD, "/proc/self/fd/2",
                                  O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0));
}

/// Returns the rest of the text that was not written.
std::string_view write_what_fits(int descriptor, std::string_view text) noexcept {
  // Of a terminal that has room for less than a line's end (EAGAIN), or of a kernel that has no
  // page for a pipe, because the control group has used up its memory (ENOMEM). Or a signal came.
  constexpr int most_refusals = 100;
  int refusals = 0;
  while (!text.empty() && refusals < most_refusals && wait_for_room(descriptor)) {
    const long written = syscall(SYS_write, descriptor, text.data(), text.size());
    if (written > 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (written < 0 && (errno == EAGAIN || errno == ENOMEM || errno == EINTR)) {
      constexpr timespec pause{.tv_sec = 0, .tv_nsec = 10'000'000};
      syscall(SYS_nanosleep, &pause, nullptr);
      ++refusals;
    } else {
      break;
    }
  }
  return text;
}

}  // namespace

bool write_to_standard_error(std::string_view text) noexcept {
  const int reopened = reopen_if_needed();
  if (reopened < 0) {
    return write_what_fits(STDERR_FILENO, text).empty();
  }
  const bool is_written = write_what_fits(reopened, text).empty();
  close_quietly(reopened);
  return is_written;
}

}  // namespace growstack::handler
