// Signals that our own writing raises (SIGPIPE, SIGXFSZ) stay pending on the thread, blocked while
// a handler runs, and would end the process when it returns. They are not the program's: taken back
// here.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <ctime>

namespace growstack::handler {

/// Signal handlers; the signal must be blocked.
inline void take_back(int signal) noexcept {
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, signal);
  const timespec now{};
  constexpr std::size_t mask_bytes = 8;
  syscall(SYS_rt_sigtimedwait, &only, nullptr, &now,
          mask_bytes);  // libc's acts on a pending cancellation
}

}  // namespace growstack::handler
