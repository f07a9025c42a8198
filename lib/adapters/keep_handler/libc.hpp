// libc's own definitions of the functions that this component replaces.
#pragma once

#include "adapters/next_definition.hpp"

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include <csignal>
#include <ctime>

namespace growstack::keep {

using SignalHandler = void (*)(int);
using SetHandler = SignalHandler(int, SignalHandler);

/// Each member has the name of libc's function.
struct Libc {
  Next<int(int, const struct sigaction*, struct sigaction*)> sigaction{"sigaction"};
  Next<SetHandler> signal{"signal"};
  Next<SetHandler> sysv_signal{"sysv_signal"};
  Next<SetHandler> sigset{"sigset"};
  Next<int(int)> sigignore{"sigignore"};
  Next<int(int, int)> siginterrupt{"siginterrupt"};

  Next<int(int, const sigset_t*, sigset_t*)> pthread_sigmask{"pthread_sigmask"};
  Next<int(int, const sigset_t*, sigset_t*)> sigprocmask{"sigprocmask"};
  Next<int(sigset_t*)> sigpending{"sigpending"};
  Next<int(int)> sigpause{"sigpause"};
  Next<int(int, int)> sigpause_either{"__sigpause"};
  Next<int(const sigset_t*)> sigsuspend{"sigsuspend"};
  Next<int(pollfd*, nfds_t, const timespec*, const sigset_t*)> ppoll{"ppoll"};
  Next<int(pollfd*, nfds_t, const timespec*, const sigset_t*, std::size_t)> ppoll_chk{
      "__ppoll_chk"};
  Next<int(int, fd_set*, fd_set*, fd_set*, const timespec*, const sigset_t*)> pselect{"pselect"};
  Next<int(int, epoll_event*, int, int, const sigset_t*)> epoll_pwait{"epoll_pwait"};
  Next<int(int, epoll_event*, int, const timespec*, const sigset_t*)> epoll_pwait2{"epoll_pwait2"};
  Next<int(pthread_attr_t*, const sigset_t*)> pthread_attr_setsigmask_np{
      "pthread_attr_setsigmask_np"};

  Next<int(const stack_t*, stack_t*)> sigaltstack{"sigaltstack"};

  /// Looks all of them up, because that is not for signal handlers.
  void look_up() noexcept;
};
extern constinit Libc libc;

}  // namespace growstack::keep
