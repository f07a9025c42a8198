#include <growstack/handler/failed_call.hpp>

#include <cerrno>

namespace growstack::handler {
namespace {

/// What was refused to this thread last.
struct Refusal {
  int error = 0;
  SystemCall call = SystemCall::none;
  BudgetRefusal by_budget{};  ///< if the error is EDQUOT
};
/// A vfork child shares that of its parent, which does nothing meanwhile. (Initial-exec, because a
/// fault may come where the loader's lock is held.)
[[gnu::tls_model("initial-exec")]] constinit thread_local Refusal last_refusal{};

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
  last_refusal = {.error = error, .call = call};
  return error;
}

const char* call_that_failed(int error) noexcept {
  return last_refusal.error == error ? name_of(last_refusal.call) : nullptr;
}

int refused_by_budget(BudgetRefusal refusal) noexcept {
  last_refusal = {.error = EDQUOT, .call = SystemCall::none, .by_budget = refusal};
  return EDQUOT;
}

BudgetRefusal budget_refusal() noexcept {
  return last_refusal.error == EDQUOT ? last_refusal.by_budget : BudgetRefusal{};
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
