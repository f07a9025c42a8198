#include "memory/overcommit.hpp"

#include "memory/coarse_clock.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>

namespace growstack {
namespace {

using namespace std::chrono_literals;

/// The last answer, and until when it holds, in nanoseconds of the coarse clock. Any thread writes
/// both. Two that ask at once get the same answer, unless somebody changes the setting just then.
constinit std::atomic<bool> charged_all{false};
constinit std::atomic<std::chrono::nanoseconds::rep> answer_holds_until{0};

/// By bare system calls, because the functions of libc are cancellation points.
bool ask_kernel() noexcept {
  constexpr char strict = '2';
  const auto file = static_cast<int>(
      syscall(SYS_openat, AT_FDCWD, "/proc/sys/vm/overcommit_memory", O_RDONLY | O_CLOEXEC));
  if (file < 0) {
    return false;
  }
  char mode = '0';
  const bool is_read = syscall(SYS_read, file, &mode, sizeof mode) == sizeof mode;
  syscall(SYS_close, file);
  return is_read && mode == strict;
}

}  // namespace

bool kernel_charges_all() noexcept {
  const std::chrono::nanoseconds::rep now = coarse_now().count();
  if (now >= answer_holds_until.load(std::memory_order_acquire)) {
    charged_all.store(ask_kernel(), std::memory_order_relaxed);
    answer_holds_until.store(now + std::chrono::nanoseconds(1s).count(), std::memory_order_release);
  }
  return charged_all.load(std::memory_order_relaxed);
}

bool untouched_memory_counts() noexcept {
  rlimit data{};
  return (getrlimit(RLIMIT_DATA, &data) == 0 && data.rlim_cur != RLIM_INFINITY) ||
         kernel_charges_all();
}

}  // namespace growstack
