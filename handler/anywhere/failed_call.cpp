#include <growstack/handler/failed_call.hpp>

#include "anywhere/keep_errno.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace growstack::handler {
namespace {

/// The last failure: thread id, errno and SystemCall in one word. Written by who fails, read by who
/// tells of it.
std::atomic<std::uint64_t> last_failure{0};
/// Of the last refusal by a budget. Written before `last_failure`.
std::atomic<std::size_t> asked_of_budget{0};
std::atomic<std::size_t> left_of_budget{0};

/// Returns a failure of the calling thread, as a word.
std::uint64_t failure(int error, SystemCall call) noexcept {
  const KeepErrno keep_errno;
  const auto thread = static_cast<std::uint32_t>(syscall(SYS_gettid));
  return std::uint64_t{thread} << 32U | std::uint64_t{static_cast<std::uint16_t>(error)} << 8U |
         std::uint64_t{static_cast<std::uint8_t>(call)};
}

const char* name_of(SystemCall call) noexcept {
  switch (call) {
    case SystemCall::none:
      return nullptr;
    case SystemCall::close_range:
      return "close_range";
    case SystemCall::fcntl:
      return "fcntl";
    case SystemCall::fstat:
      return "fstat";
    case SystemCall::getcontext:
      return "getcontext";
    case SystemCall::madvise:
      return "madvise";
    case SystemCall::mlock2:
      return "mlock2";
    case SystemCall::mmap:
      return "mmap";
    case SystemCall::mprotect:
      return "mprotect";
    case SystemCall::munlock:
      return "munlock";
    case SystemCall::munmap:
      return "munmap";
    case SystemCall::pipe2:
      return "pipe2";
    case SystemCall::pthread_create:
      return "pthread_create";
    case SystemCall::pthread_sigmask:
      return "pthread_sigmask";
    case SystemCall::sigaction:
      return "sigaction";
    case SystemCall::sigaltstack:
      return "sigaltstack";
    case SystemCall::uffdio_api:
      return "ioctl(UFFDIO_API)";
    case SystemCall::uffdio_copy:
      return "ioctl(UFFDIO_COPY)";
    case SystemCall::uffdio_register:
      return "ioctl(UFFDIO_REGISTER)";
    case SystemCall::uffdio_zeropage:
      return "ioctl(UFFDIO_ZEROPAGE)";
    case SystemCall::userfaultfd:
      return "userfaultfd";
  }
  return nullptr;
}

}  // namespace

int failed(SystemCall call) noexcept {
  const int error = errno;
  last_failure.store(failure(error, call), std::memory_order_release);
  return error;
}

const char* call_that_failed(int error) noexcept {
  constexpr std::uint64_t call_mask = 0xff;
  const std::uint64_t seen = last_failure.load(std::memory_order_acquire);
  return (seen & ~call_mask) == failure(error, SystemCall::none)
             ? name_of(static_cast<SystemCall>(seen & call_mask))
             : nullptr;
}

int refused_by_budget(BudgetRefusal refusal) noexcept {
  asked_of_budget.store(refusal.asked, std::memory_order_relaxed);
  left_of_budget.store(refusal.left, std::memory_order_relaxed);
  last_failure.store(failure(EDQUOT, SystemCall::none), std::memory_order_release);
  return EDQUOT;
}

BudgetRefusal budget_refusal() noexcept {
  if (last_failure.load(std::memory_order_acquire) != failure(EDQUOT, SystemCall::none)) {
    return {};
  }
  return {.asked = asked_of_budget.load(std::memory_order_relaxed),
          .left = left_of_budget.load(std::memory_order_relaxed)};
}

// A table of our own, because musl has no strerrorname_np(3), and glibc has it since 2.32.
const char* errno_name(int error) noexcept {
  switch (error) {
    case EACCES:
      return "EACCES";
    case EAGAIN:
      return "EAGAIN";
    case EBADF:
      return "EBADF";
    case EBUSY:
      return "EBUSY";
    case EEXIST:
      return "EEXIST";
    case EFAULT:
      return "EFAULT";
    case EINTR:
      return "EINTR";
    case EINVAL:
      return "EINVAL";
    case EIO:
      return "EIO";
    case EMFILE:
      return "EMFILE";
    case ENFILE:
      return "ENFILE";
    case ENODEV:
      return "ENODEV";
    case ENOENT:
      return "ENOENT";
    case ENOMEM:
      return "ENOMEM";
    case ENOSPC:
      return "ENOSPC";
    case ENOSYS:
      return "ENOSYS";
    case ENOTSUP:
      return "ENOTSUP";
    case ENOTTY:
      return "ENOTTY";
    case EOVERFLOW:
      return "EOVERFLOW";
    case EPERM:
      return "EPERM";
    case ESRCH:
      return "ESRCH";
    default:
      return nullptr;
  }
}

}  // namespace growstack::handler
