#include "anywhere/userfault_open.hpp"

#include <growstack/handler/failed_call.hpp>

#include "anywhere/own_descriptor.hpp"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace growstack::handler {
namespace {

/// Written before the descriptor is, under the life-cycle lock; read by anyone after.
std::atomic<bool> monitor_serves_system_calls{false};

int open_by_system_call(int flags) noexcept {
  return static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | flags));
}

/// Linux 6.1. File permissions decide about this way, not a sysctl, and it is open where seccomp
/// forbids the system call.
int open_by_device() noexcept {
  const auto device =
      static_cast<int>(syscall(SYS_openat, AT_FDCWD, "/dev/userfaultfd", O_RDWR | O_CLOEXEC, 0));
  if (device < 0) {
    return -1;
  }
  const int descriptor = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC);
  close_quietly(device);
  return descriptor;
}

/// Returns what the first way that works opens; otherwise -1 with the errno of the system call,
/// which says more than that of the device.
template <class... Ways>
int first_that_opens(Ways... ways) noexcept {
  int descriptor = -1;
  int error = 0;
  const auto attempt = [&](auto way) {
    descriptor = way();
    error = error == 0 ? errno : error;
    return descriptor >= 0;
  };
  static_cast<void>((attempt(ways) || ...));
  errno = error;
  return descriptor;
}

/// Asks for no more than is needed. Before Linux 5.11 there was no such flag, and no need of a
/// privilege.
int open_for_signals() noexcept {
  const auto user_mode = [] { return open_by_system_call(UFFD_USER_MODE_ONLY); };
  const auto any_mode = [] { return open_by_system_call(0); };
  return first_that_opens(user_mode, open_by_device, any_mode);
}

int open_for_monitor() noexcept {
  const int descriptor = first_that_opens([] { return open_by_system_call(0); }, open_by_device);
  monitor_serves_system_calls.store(descriptor >= 0, std::memory_order_relaxed);
  if (descriptor >= 0) {
    return descriptor;
  }
  const int error = errno;
  const int user_mode = open_by_system_call(UFFD_USER_MODE_ONLY);
  errno = error;
  return user_mode;
}

}  // namespace

int open_userfault(UserfaultKind kind) noexcept {
  const int opened = kind == UserfaultKind::signal ? open_for_signals() : open_for_monitor();
  if (opened < 0) {
    failed(SystemCall::userfaultfd);
    return -1;
  }
  const int descriptor = above_standard_streams(opened);
  if (descriptor < 0) {
    failed(SystemCall::fcntl);
    return -1;
  }
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kind == UserfaultKind::signal ? UFFD_FEATURE_SIGBUS : 0;
  if (ioctl(descriptor, UFFDIO_API, &api) != 0) {
    failed(SystemCall::uffdio_api);
    close_quietly(descriptor);
    return -1;
  }
  return descriptor;
}

bool serves_system_calls() noexcept {
  return monitor_serves_system_calls.load(std::memory_order_relaxed);
}

}  // namespace growstack::handler
