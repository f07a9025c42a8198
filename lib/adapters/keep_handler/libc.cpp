#include "adapters/keep_handler/libc.hpp"

namespace growstack::keep {

constinit Libc libc;

void Libc::look_up() noexcept {
  const auto each = [](auto&... functions) { (static_cast<void>(functions.get()), ...); };
  each(sigaction, signal, sysv_signal, sigset, sigignore, siginterrupt);
  each(pthread_sigmask, sigprocmask, sigpending, sigpause, sigpause_either, sigsuspend);
  each(ppoll, ppoll_chk, pselect, epoll_pwait, epoll_pwait2, pthread_attr_setsigmask_np);
  each(sigaltstack);
}

namespace {

/// Before a signal handler can need one of them.
struct LookUp {
  LookUp() noexcept { libc.look_up(); }
};
const LookUp look_up;

}  // namespace
}  // namespace growstack::keep
