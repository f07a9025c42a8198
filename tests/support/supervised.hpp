// Some system calls of a thread, and of all that it makes, as they are asked of the kernel:
// seccomp's user notification (Linux 5.5). Whoever supervises answers for the kernel, or lets it
// answer.
#pragma once

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <thread>
#include <vector>

namespace growstack::testing {

/// To be supervised: a system call, and if `argument` is not 0 only those whose first argument is
/// that.
struct Supervised {
  long number = 0;
  std::uint32_t argument = 0;
};

/// What the supervisor says: let the kernel do it, or return 0, or fail with an errno.
struct Answer {
  bool by_kernel = true;
  int error = 0;
};

inline constexpr int no_supervision = 102;  ///< the exit code where the kernel offers none

/// Runs body() in a thread whose system calls of these kinds `answer` is asked about, in the
/// calling thread: it must not make such calls wait for a lock that the body holds. Threads that
/// the body leaves behind are asked about no more, and their calls fail with ENOSYS: for a process
/// that is about to end.
inline void supervise(std::initializer_list<Supervised> kinds,
                      const std::function<Answer(const seccomp_data&)>& answer,
                      const std::function<void()>& body) {
  std::vector<sock_filter> program{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
  };
  for (const Supervised& kind : kinds) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(kind.number), 0,
                               static_cast<unsigned char>(kind.argument == 0 ? 1 : 4)));
    if (kind.argument != 0) {
      program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)));
      program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kind.argument, 0, 1));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF));
    if (kind.argument != 0) {
      program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
    }
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));

  std::atomic<int> listener{-1};
  std::atomic<bool> ended{false};
  std::thread supervised([&] {
    const sock_fprog filter{.len = static_cast<unsigned short>(program.size()),
                            .filter = program.data()};
    long made = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (made == 0) {
      made =
          syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
    }
    if (made < 0) {
      std::perror("seccomp");
      _exit(no_supervision);
    }
    listener = static_cast<int>(made);
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
