#include "parts/system_calls.hpp"

#include "parts/errors.hpp"

#include <sys/prctl.h>
#include <ucontext.h>

#include <cerrno>
#include <csignal>

namespace growstack::bench {
namespace {

/// The kernel reads this variable at each system call of the thread.
volatile char selector = PR_SYS_DISPATCH_OFF;
static_assert(SYSCALL_DISPATCH_FILTER_ALLOW == 0 && SYSCALL_DISPATCH_FILTER_BLOCK != 0);

/// Lets the stopped system call and all that follow through: the instruction runs once more.
void let_through(int, siginfo_t*, void* context) {
  constexpr greg_t bytes_of_syscall = 2;
  selector = SYSCALL_DISPATCH_FILTER_ALLOW;
  static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] -= bytes_of_syscall;
}

class Watch {
 public:
  Watch() {
    struct sigaction action {};
    action.sa_sigaction = let_through;
    action.sa_flags = SA_SIGINFO;
    require(sigaction(SIGSYS, &action, &previous_) == 0, "sigaction");
    selector = SYSCALL_DISPATCH_FILTER_ALLOW;
    constexpr unsigned long from_nowhere = 0;
    if (prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, from_nowhere, 0UL, &selector) !=
        0) {
      const int error = errno;
      sigaction(SIGSYS, &previous_, nullptr);
      throw_error("PR_SET_SYSCALL_USER_DISPATCH (Linux 5.11)", error);
    }
  }
  ~Watch() {
    prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0UL, 0UL, 0UL);
    sigaction(SIGSYS, &previous_, nullptr);
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  struct sigaction previous_ {};
};

}  // namespace

unsigned runs_with_system_calls(unsigned runs, const std::function<void()>& body) {
  const Watch watch;
  unsigned found = 0;
  for (unsigned run = 0; run < runs; ++run) {
    selector = SYSCALL_DISPATCH_FILTER_BLOCK;
    body();
    found += selector == SYSCALL_DISPATCH_FILTER_ALLOW ? 1 : 0;
    selector = SYSCALL_DISPATCH_FILTER_ALLOW;
  }
  return found;
}

}  // namespace growstack::bench
