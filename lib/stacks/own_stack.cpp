#include "stacks/own_stack.hpp"

#include <growstack/handler/without_cancellation.hpp>

#include <pthread.h>
#include <sys/auxv.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstddef>

namespace growstack {
namespace {

constexpr std::size_t mebibyte = std::size_t{1} << 20;

/// What a thread knows of its stack. It stays true in a forked child, whose only thread runs on the
/// same stack as before.
struct Known {
  OwnStack stack;
  bool is_asked;
  rlim_t limit;  ///< of the main thread's stack, when the system was asked
};
constinit thread_local Known known{};

rlim_t stack_limit() noexcept {
  rlimit limits{};
  getrlimit(RLIMIT_STACK, &limits);
  return limits.rlim_cur;
}

/// The arguments of the program, 6 MiB at most, and what else the kernel gives it lie above the
/// frames of the main thread. Among them are the random bytes that AT_RANDOM tells. (The process
/// id does not tell the main thread: that of a forked child may run on any stack.)
bool is_main_stack(StackExtent extent) noexcept {
  const std::uintptr_t above = getauxval(AT_RANDOM);
  return extent.low < above && above < extent.high + 8 * mebibyte;
}

/// The kernel stops the growth of the main thread's stack 1 MiB (stack_guard_gap) before another
/// mapping. If the limit would allow more, the C library tells where that mapping ends. Without a
/// limit that may be half of the address space, in which the heap grows; and if the limit is less
/// than what lies above the frames, the C library reckons below 0.
std::uintptr_t low_of_main(StackExtent told, rlim_t limit) noexcept {
  constexpr std::size_t most_without_limit = 65536 * mebibyte;
  const std::size_t size = told.high - told.low;
  if (limit != RLIM_INFINITY && size > limit) {
    return told.high;
  }
  if (size > most_without_limit && limit == RLIM_INFINITY) {
    return told.high - most_without_limit;
  }
  const bool ends_at_mapping = limit == RLIM_INFINITY || size + 8 * mebibyte < limit;
  return ends_at_mapping && size > mebibyte ? told.low + mebibyte : told.low;
}

/// pthread_getattr_np(3) opens a file for the main thread, and no caller wants to be cancelled.
OwnStack ask() noexcept {
  const handler::WithoutCancellation without_cancellation;
  const rlim_t limit = stack_limit();
  OwnStack found;
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) {
    return found;
  }
  void* low = nullptr;
  std::size_t size = 0;
  std::size_t guard = 0;
  if (pthread_attr_getstack(&attributes, &low, &size) == 0 &&
      pthread_attr_getguardsize(&attributes, &guard) == 0) {
    found.extent.low = reinterpret_cast<std::uintptr_t>(low);
    found.extent.high = found.extent.low + size;
    found.is_main = is_main_stack(found.extent);
    if (found.is_main) {
      found.extent.low = low_of_main(found.extent, limit);
      guard = 0;
    }
    found.guard = found.extent.low - guard;
  }
  pthread_attr_destroy(&attributes);
  known = {.stack = found, .is_asked = true, .limit = limit};
  return found;
}

}  // namespace

OwnStack own_stack() noexcept {
  if (known.is_asked) {
    return known.stack;
  }
  const int error = errno;
  const OwnStack stack = ask();
  errno = error;
  return stack;
}

bool renew_own_stack() noexcept {
  if (!known.is_asked || !known.stack.is_main || known.limit == stack_limit()) {
    return false;
  }
  known.is_asked = false;
  return true;
}

}  // namespace growstack
