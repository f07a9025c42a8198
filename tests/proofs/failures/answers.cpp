#include "proofs/failures/answers.hpp"

#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <utility>

namespace growstack::testing {
namespace {

using Errnos = std::vector<int>;

/// What the man pages list, section ERRORS, less EFAULT and what only a wrong argument explains
/// that nobody gives. A filter's EPERM and ENOSYS come to each. EBADF is what the program leaves
/// that closes a descriptor of ours.
const std::map<long, Errnos>& errnos() {
  static const std::map<long, Errnos> all{
      // Memory.
      {SYS_mmap, {EAGAIN, EINVAL, ENOMEM}},
      {SYS_munmap, {EINVAL, ENOMEM}},
      {SYS_mremap, {EAGAIN, EINVAL, ENOMEM}},
      {SYS_mprotect, {EACCES, EINVAL, ENOMEM}},
      {SYS_madvise, {EACCES, EAGAIN, EBADF, EINVAL, EIO, ENOMEM}},
      {SYS_process_madvise, {EBADF, EINVAL, ENOMEM, ESRCH}},
      {SYS_mlock, {EAGAIN, EINVAL, ENOMEM}},
      {SYS_mlock2, {EAGAIN, EINVAL, ENOMEM}},
      {SYS_msync, {EBUSY, EINVAL, ENOMEM}},
      {SYS_munlock, {EAGAIN, EINVAL, ENOMEM}},
      {SYS_mincore, {EAGAIN, EINVAL, ENOMEM}},
      {SYS_process_vm_readv, {EINVAL, ENOMEM, ESRCH}},
      {SYS_membarrier, {EINVAL}},
      // Files.
      {SYS_openat,
       {EACCES, EBUSY, EINTR, EINVAL, ELOOP, EMFILE, ENFILE, ENOENT, ENOMEM, ENOTDIR, ENXIO}},
      {SYS_close, {}},  // EINTR and EIO close it, which nobody can do in its place
      {SYS_close_range, {EINVAL, EMFILE, ENOMEM}},
      {SYS_read, {EBADF, EINTR, EINVAL, EIO, EISDIR}},
      {SYS_write, {EAGAIN, EBADF, EDQUOT, EFBIG, EINTR, EINVAL, EIO, ENOSPC, EPIPE}},
      {SYS_lseek, {EBADF, EINVAL, EOVERFLOW, ESPIPE}},
      {SYS_readlink, {EACCES, EINVAL, EIO, ENOENT, ENOMEM}},
      // EBADF would say of what is open that it is not, and nobody would ever close it.
      {SYS_fstat, {ENOMEM, EOVERFLOW}},
      {SYS_newfstatat, {EACCES, ELOOP, ENOENT, ENOMEM, EOVERFLOW}},
      {SYS_statx, {EACCES, EINVAL, ENOENT, ENOMEM}},
      {SYS_fcntl, {EACCES, EAGAIN, EBADF, EINVAL, EMFILE}},
      {SYS_pipe2, {EINVAL, EMFILE, ENFILE}},
      {SYS_userfaultfd, {EINVAL, EMFILE, ENFILE, ENOMEM}},
      {SYS_ioctl, {EBADF, EINVAL, ENOTTY}},
      {SYS_kcmp, {EBADF, EINVAL, ESRCH}},
      // Waiting. Futexes are below.
      {SYS_ppoll, {EINTR, EINVAL, ENOMEM}},
      {SYS_poll, {EINTR, EINVAL, ENOMEM}},
      {SYS_nanosleep, {EINTR, EINVAL}},
      {SYS_clock_nanosleep, {EINTR, EINVAL}},
      {SYS_waitid, {ECHILD, EINTR, EINVAL}},
      {SYS_wait4, {ECHILD, EINTR, EINVAL}},
      // Threads and processes.
      {SYS_clone, {EAGAIN, EINVAL, ENOMEM}},
      {SYS_clone3, {EAGAIN, EINVAL, ENOMEM}},
      {SYS_vfork, {EAGAIN, ENOMEM}},
      {SYS_fork, {EAGAIN, ENOMEM}},
      {SYS_set_robust_list, {EINVAL}},
      {SYS_set_tid_address, {}},
      {SYS_rseq, {EBUSY, EINVAL}},
      {SYS_gettid, {}},
      {SYS_getpid, {}},
      {SYS_prctl, {EACCES, EBADF, EBUSY, EINVAL, ENOMEM}},
      {SYS_prlimit64, {EINVAL, ESRCH}},
      {SYS_getrusage, {EINVAL}},
      {SYS_getrandom, {EAGAIN, EINTR, EINVAL}},
      {SYS_sched_getscheduler, {EINVAL, ESRCH}},
      {SYS_sched_setscheduler, {EINVAL, ESRCH}},
      {SYS_sched_getparam, {EINVAL, ESRCH}},
      {SYS_sched_getaffinity, {EINVAL, ESRCH}},
      {SYS_sched_setaffinity, {EINVAL, ESRCH}},
      {SYS_sched_getattr, {E2BIG, EINVAL, ESRCH}},
      {SYS_sched_setattr, {E2BIG, EBUSY, EINVAL, ESRCH}},
      {SYS_sched_yield, {}},
      {SYS_getcpu, {}},
      {SYS_clock_gettime, {EINVAL}},
      // Signals.
      {SYS_rt_sigaction, {EINVAL}},
      {SYS_rt_sigprocmask, {EINVAL}},
      {SYS_rt_sigpending, {EINVAL}},
      {SYS_rt_sigtimedwait, {EAGAIN, EINTR, EINVAL}},
      {SYS_rt_tgsigqueueinfo, {EAGAIN, EINVAL, ESRCH}},
      {SYS_sigaltstack, {EINVAL, ENOMEM}},
      {SYS_tgkill, {EAGAIN, EINVAL, ESRCH}},
      {SYS_tkill, {EAGAIN, EINVAL, ESRCH}},
  };
  return all;
}

/// ioctl_userfaultfd(2), by request.
Errnos errnos_of_ioctl(std::uint64_t request) {
  switch (request) {
    case UFFDIO_COPY:
      return {EAGAIN, EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC, ESRCH};
    case UFFDIO_ZEROPAGE:
      return {EAGAIN, EEXIST, EINVAL, ENOENT, ENOMEM, ESRCH};
    case UFFDIO_REGISTER:
      return {EBUSY, EINVAL, ENOMEM};
    default:
      return {};
  }
}

bool waits_on_futex(const seccomp_data& call) {
  const std::uint64_t command = call.args[1] & static_cast<std::uint64_t>(FUTEX_CMD_MASK);
  return call.nr == SYS_futex && (command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET);
}

Errnos errnos_of_futex(const seccomp_data& call) {
  if (!waits_on_futex(call)) {
    return {EINVAL};
  }
  Errnos all{EAGAIN, EINTR, EINVAL};
  if (call.args[3] != 0) {
    all.push_back(ETIMEDOUT);
  }
  return all;
}

/// Returns a number that tells what kind of such a call it is, and what that is called.
std::pair<const char*, std::uint64_t> selector_of(const seccomp_data& call) {
  switch (call.nr) {
    case SYS_madvise:
      return {"advice", call.args[2]};
    case SYS_process_madvise:
      return {"advice", call.args[3]};
    case SYS_ioctl:
      return {"request", call.args[1] & 0xffffU};
    case SYS_prctl:
      return {"option", call.args[0]};
    case SYS_futex:
      return {"operation", call.args[1] & static_cast<std::uint64_t>(FUTEX_CMD_MASK)};
    case SYS_fcntl:
      return {"command", call.args[1]};
    case SYS_mprotect:
    case SYS_mmap:
      return {"protection", call.args[2]};
    default:
      return {nullptr, 0};
  }
}

}  // namespace

std::vector<Answer> answers_of(const seccomp_data& call) {
  if (call.nr == SYS_brk) {
    return {{Answer::nothing}};  // it has no errno, and glibc takes 0 for a break that did not move
  }
  std::vector<Answer> answers;
  Errnos refusals;
  if (call.nr == SYS_futex) {
    refusals = errnos_of_futex(call);
  } else if (const auto found = errnos().find(call.nr); found != errnos().end()) {
    refusals = found->second;
  } else {
    return {};
  }
  if (call.nr == SYS_ioctl) {
    if (const Errnos more = errnos_of_ioctl(call.args[1]); !more.empty()) {
      refusals = more;
      refusals.push_back(EBADF);
    }
  }
  refusals.push_back(EPERM);
  refusals.push_back(ENOSYS);
  for (const int error : refusals) {
    answers.push_back({Answer::refusal, error});
  }
  if (waits_on_futex(call) || call.nr == SYS_process_madvise) {
    answers.push_back({Answer::nothing});  // a wake-up without a reason; less than was asked for
  }
  if ((call.nr == SYS_write && call.args[0] == STDERR_FILENO && call.args[2] > 1) ||
      (call.nr == SYS_read && call.args[2] > 1)) {
    answers.push_back({Answer::one_byte});
  }
  return answers;
}

std::string name_of(const Answer& answer) {
  switch (answer.kind) {
    case Answer::nothing:
      return "0";
    case Answer::one_byte:
      return "1 byte";
    case Answer::refusal:
      break;
  }
  const char* const name = strerrorname_np(answer.error);
  return name == nullptr ? std::to_string(answer.error) : name;
}

std::string name_of(const seccomp_data& call) {
  const std::unique_ptr<char, void (*)(void*)> found(
      seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, call.nr), &std::free);
  std::string name = found == nullptr ? "system call " + std::to_string(call.nr) : found.get();
  if (const auto [what, value] = selector_of(call); what != nullptr) {
    name += std::string("(") + what + " " + std::to_string(value) + ")";
  }
  return name;
}

}  // namespace growstack::testing
