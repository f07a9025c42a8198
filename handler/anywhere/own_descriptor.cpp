#include "anywhere/own_descriptor.hpp"

#include "anywhere/keep_errno.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace growstack::handler {

int OwnDescriptor::set(int descriptor) noexcept {
  struct stat found {};
  if (fstat(descriptor, &found) != 0) {
    return errno;
  }
  device_.store(found.st_dev, std::memory_order_relaxed);
  inode_.store(found.st_ino, std::memory_order_relaxed);
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
  struct stat found {};
  const bool ours = descriptor >= 0 && fstat(descriptor, &found) == 0 &&
                    found.st_dev == device_.load(std::memory_order_relaxed) &&
                    found.st_ino == inode_.load(std::memory_order_relaxed);
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
