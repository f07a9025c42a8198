// Signals that our own writing raises (SIGPIPE, SIGXFSZ). They stay pending on the thread, because
// they are blocked while a handler runs, and would end the process when it returns. They are not
// the program's, so we take them back.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <ctime>

namespace growstack::handler {

/// Remembers which signals were pending before we wrote: those are the program's, and stay. Every
/// signal must be blocked. Signal handlers included.
class PendingSignals {
 public:
  PendingSignals() noexcept { sigpending(&before_); }

  /// Removes a signal that is pending now and was not before.
  void take_back(int signal) const noexcept {
    if (sigismember(&before_, signal) != 0) {
      return;
    }
    sigset_t only;
    sigemptyset(&only);
    sigaddset(&only, signal);
    const timespec now{};
    constexpr std::size_t mask_bytes = 8;
    // The bare system call, because sigtimedwait(3) acts on a pending cancellation.
    syscall(SYS_rt_sigtimedwait, &only, nullptr, &now, mask_bytes);
  }

 private:
  sigset_t before_{};
};

/// Takes back the signals that writing to a closed pipe or a full file raises, unless they were
/// pending before. They would end the process before the fault does.
class KeepPendingSignals {
 public:
  KeepPendingSignals() noexcept = default;
  ~KeepPendingSignals() {
    for (const int signal : {SIGPIPE, SIGXFSZ}) {
      before_.take_back(signal);
    }
  }
  KeepPendingSignals(const KeepPendingSignals&) = delete;
  KeepPendingSignals& operator=(const KeepPendingSignals&) = delete;

 private:
  const PendingSignals before_;
};

}  // namespace growstack::handler
