#include "anywhere/own_descriptor.hpp"

#include <growstack/handler/failed_call.hpp>

#include "anywhere/keep_errno.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>

namespace growstack::handler {
namespace {

/// What a descriptor stands for.
struct File {
  dev_t device = 0;
  ino_t inode = 0;
};

/// Returns whether the kernel tells. A filter may refuse one of the two calls and allow the other.
bool find(int descriptor, File& file) noexcept {
  struct stat found {};
  if (fstat(descriptor, &found) == 0) {
    file = {.device = found.st_dev, .inode = found.st_ino};
    return true;
  }
  if (errno == EBADF) {
    return false;
  }
  struct statx told {};
  if (syscall(SYS_statx, descriptor, "", AT_EMPTY_PATH, STATX_INO, &told) != 0) {
    return false;
  }
  file = {.device = makedev(told.stx_dev_major, told.stx_dev_minor), .inode = told.stx_ino};
  return true;
}

}  // namespace

int OwnDescriptor::set(int descriptor) noexcept {
  File file;
  if (!find(descriptor, file)) {
    return failed(SystemCall::fstat);
  }
  device_.store(file.device, std::memory_order_relaxed);
  inode_.store(file.inode, std::memory_order_relaxed);
  number_plus_one_.store(descriptor + 1, std::memory_order_release);
  return 0;
}

void OwnDescriptor::forget() noexcept { number_plus_one_.store(0, std::memory_order_release); }

void OwnDescriptor::close() noexcept {
  if (const int descriptor = verified(); descriptor >= 0) {
    close_quietly(descriptor);
  }
  forget();
}

int OwnDescriptor::verified() const noexcept {
  const int descriptor = number();
  File file;
  const bool ours = descriptor >= 0 && find(descriptor, file) &&
                    file.device == device_.load(std::memory_order_relaxed) &&
                    file.inode == inode_.load(std::memory_order_relaxed);
  return ours ? descriptor : -1;
}

int above_standard_streams(int descriptor) noexcept {
  if (descriptor < 0 || descriptor > STDERR_FILENO) {
    return descriptor;
  }
  const auto moved =
      static_cast<int>(syscall(SYS_fcntl, descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  close_quietly(descriptor);
  return moved;
}

void close_quietly(int descriptor) noexcept {
  const KeepErrno keep_errno;
  syscall(SYS_close, descriptor);
}

}  // namespace growstack::handler
