#include <growstack/handler/is_readable.hpp>

#include "anywhere/keep_errno.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

namespace growstack::handler {

/// The kernel reads a signal mask there, and then refuses it, because no `how` is -1.
bool is_readable(std::uintptr_t address) noexcept {
  const KeepErrno keep_errno;
  constexpr int no_such_how = -1;
  constexpr std::size_t mask_bytes = 8;
  const std::uintptr_t aligned = address & ~(mask_bytes - 1);
  return syscall(SYS_rt_sigprocmask, no_such_how, aligned, nullptr, mask_bytes) != 0 &&
         errno == EINVAL;
}

}  // namespace growstack::handler
