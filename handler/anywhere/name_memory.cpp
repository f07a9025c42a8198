#include <growstack/handler/name_memory.hpp>

#include "anywhere/keep_errno.hpp"

#include <sys/prctl.h>

#include <atomic>
#include <cerrno>

namespace growstack::handler {
namespace {

// Constants of <linux/prctl.h>, which older headers lack.
constexpr int set_vma = 0x53564d41;          // PR_SET_VMA
constexpr unsigned long anonymous_name = 0;  // PR_SET_VMA_ANON_NAME

/// Cleared by the first refusal. Any thread may do that, also two at once.
std::atomic<bool> may_work{true};

/// Returns whether the kernel knows names, but cannot give one here and now: part of the memory is
/// not mapped, or there is no memory for a name.
bool is_passing(int error) noexcept { return error == ENOMEM || error == EAGAIN || error == EBADF; }

}  // namespace

void name_memory(std::uintptr_t begin, std::size_t size, const char* name) noexcept {
  if (size == 0 || !may_work.load(std::memory_order_relaxed)) {
    return;
  }
  const KeepErrno keep_errno;
  if (prctl(set_vma, anonymous_name, begin, size, name) != 0 && !is_passing(errno)) {
    may_work.store(false, std::memory_order_relaxed);
  }
}

}  // namespace growstack::handler
