// Signals that our own writing raises (SIGPIPE, SIGXFSZ) stay pending on the thread, blocked while a handler runs, and would
// end the process when it returns. They are not the program's: taken back here.
#pragma once

#include <csignal>
#include <ctime>

namespace growstack::handler {

/// Signal handlers; the signal must be blocked.
inline void take_back(int signal) noexcept {
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, signal);
  const timespec now{};
  sigtimedwait(&only, nullptr, &now);
}

}  // namespace growstack::handler
