// Makes system calls fail, as an older kernel or a container might refuse them: seccomp filters.
#pragma once

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <span>
#include <thread>

namespace growstack::testing {

/// A filter cannot be removed, but it belongs to the thread that set it and to what that one makes,
/// threads and processes: in_a_thread() gives the body a thread of its own, so that the process
/// goes on without.
class InjectedError {
 public:
  static void in_a_thread(const std::function<void(InjectedError&)>& body) {
    std::thread([&] {
      InjectedError injected;
      body(injected);
    }).join();
  }

  /// For the calling thread and all that it makes from now on.
  static InjectedError for_good() { return {}; }

  /// From now on the system call fails with `error`. Ends the process where there is no seccomp.
  void refuse(long system_call, int error) {
    std::array<sock_filter, 6> program{{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(system_call), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    install(program);
  }

  /// From now on every system call kills the process, but for the one that ends it.
  void forbid_all() {
    std::array<sock_filter, 4> program{{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    }};
    install(program);
  }

  /// From now on the system call fails with `error` if its argument of that index (from 0), of
  /// which the kernel reads 32 bits, is `value`.
  void refuse_argument(long system_call, unsigned index, std::uint32_t value, int error) {
    const auto argument =
        static_cast<unsigned>(offsetof(seccomp_data, args) + index * sizeof(std::uint64_t));
    std::array<sock_filter, 8> program{{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(system_call), 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    install(program);
  }

 private:
  InjectedError() = default;

  static void install(std::span<sock_filter> program) {
    const sock_fprog filter{.len = static_cast<unsigned short>(program.size()),
                            .filter = program.data()};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) != 0) {
      std::perror("seccomp");
      std::exit(102);
    }
  }
};

}  // namespace growstack::testing
