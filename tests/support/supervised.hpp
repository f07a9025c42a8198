// Some system calls of a thread, and of all that it makes, as they are asked of the kernel:
// seccomp's user notification (Linux 5.5). A supervisor answers in place of the kernel, or lets the
// kernel answer.
#pragma once

#include "support/system_call_filter.hpp"

#include <linux/seccomp.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <thread>

namespace growstack::testing {

/// Names calls to be supervised: all calls of that number, or, if `argument` is not 0, those whose
/// first argument is `argument`.
struct Supervised {
  long number = 0;
  std::uint32_t argument = 0;
};

/// What the supervisor says: let the kernel do it, or return 0, or fail with an errno.
struct Answer {
  bool by_kernel = true;
  int error = 0;
};

/// Runs body() in a thread of its own. At each of its system calls of these kinds asks `answer` in
/// the calling thread, which must not wait for a lock that the body holds meanwhile. Threads that
/// the body leaves behind wait for an answer until the process ends. So a process can do this once,
/// shortly before its end.
inline void supervise(std::initializer_list<Supervised> kinds,
                      const std::function<Answer(const seccomp_data&)>& answer,
                      const std::function<void()>& body) {
  SystemCallFilter filter;
  for (const Supervised& kind : kinds) {
    if (kind.argument == 0) {
      filter.add(SCMP_ACT_NOTIFY, kind.number);
    } else {
      filter.add(SCMP_ACT_NOTIFY, kind.number, {argument_is(0, kind.argument)});
    }
  }

  std::atomic<int> listener{-1};
  std::atomic<bool> ended{false};
  std::thread supervised([&] {
    filter.install();
    listener = filter.listener();
    listener.notify_one();
    body();
    ended = true;
  });
  listener.wait(-1);

  while (!ended) {
    constexpr int patience_ms = 10;
    pollfd source{.fd = listener, .events = POLLIN, .revents = 0};
    if (poll(&source, 1, patience_ms) <= 0) {
      continue;
    }
    // Not by libseccomp's calls: these want memory from malloc, whose lock the body may hold.
    seccomp_notif asked{};
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) != 0) {
      continue;  // a signal came first
    }
    const Answer answered = answer(asked.data);
    seccomp_notif_resp response{
        .id = asked.id,
        .val = 0,
        .error = answered.by_kernel ? 0 : -answered.error,
        .flags = answered.by_kernel ? std::uint32_t{SECCOMP_USER_NOTIF_FLAG_CONTINUE} : 0U};
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
  }
  supervised.detach();  // its end unmaps its stack, which nobody would answer for
}

}  // namespace growstack::testing
