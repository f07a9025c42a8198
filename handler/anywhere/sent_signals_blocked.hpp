// Code that no signal handler of the program may interrupt, because a handler may leave by
// siglongjmp(3).
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdint>

namespace growstack::handler {

/// Blocks in this thread, while it exists, every signal that somebody may send, libc's internal
/// ones too, which pthread_sigmask(3) leaves out. SIGSEGV and SIGBUS stay as they are, because this
/// code may run on a stack that grows. Two bare system calls. Signal handlers included.
class SentSignalsBlocked {
 public:
  SentSignalsBlocked() noexcept {
    const std::uint64_t sent = ~(bit(SIGSEGV) | bit(SIGBUS));
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, &sent, &before_, sizeof sent);
  }
  ~SentSignalsBlocked() {
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before_, nullptr, sizeof before_);
  }
  SentSignalsBlocked(const SentSignalsBlocked&) = delete;
  SentSignalsBlocked& operator=(const SentSignalsBlocked&) = delete;

 private:
  static constexpr std::uint64_t bit(int signal) noexcept {
    return std::uint64_t{1} << static_cast<unsigned>(signal - 1);
  }

  std::uint64_t before_ = 0;
};

}  // namespace growstack::handler
