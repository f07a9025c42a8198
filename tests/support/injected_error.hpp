// Makes a system call fail, as a kernel or a container might refuse it: a seccomp filter.
#pragma once

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>

namespace growstack::testing {

/// A filter cannot be removed, but it belongs to the thread that set it and to threads made by that one: in_a_thread()
/// gives the body a thread of its own, so that the process goes on without.
class InjectedError {
 public:
  static void in_a_thread(const std::function<void(InjectedError&)>& body) {
    std::thread([&] {
      InjectedError injected;
      body(injected);
    }).join();
  }

  /// From now on the system call fails with `error` in this thread. Ends the process where there is no seccomp.
  void refuse(long system_call, int error) {
    const auto number = static_cast<unsigned>(system_call);
    std::array<sock_filter, 6> program{{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    const sock_fprog filter{.len = program.size(), .filter = program.data()};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) != 0) {
      std::perror("seccomp");
      std::exit(102);
    }
  }

 private:
  InjectedError() = default;
};

}  // namespace growstack::testing
