#include "threads/service_thread.hpp"

#include <growstack/handler/handler.hpp>
#include <growstack/handler/init_order.hpp>

#include <linux/close_range.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>

namespace growstack::handler {
namespace {

/// The processors this process was started on: a program under taskset(1) stays there, threads it
/// pins later do not count.
[[gnu::init_priority(init_foundations)]] const cpu_set_t processors_at_start = [] {
  cpu_set_t processors;
  if (sched_getaffinity(0, sizeof processors, &processors) != 0) {
    CPU_ZERO(&processors);
  }
  return processors;
}();

constinit thread_local bool starting = false;

}  // namespace

bool starts_service_thread() noexcept { return starting; }

int start_service_thread(pthread_t& thread, void* (*body)(void*), void* argument) noexcept {
  pthread_attr_t attributes;
  if (const int error = pthread_attr_init(&attributes); error != 0) {
    return error;
  }
  const sched_param priority{.sched_priority = 0};
  pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
  pthread_attr_setschedpolicy(&attributes, SCHED_OTHER);
  pthread_attr_setschedparam(&attributes, &priority);

  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all,
                  &before);  // inherited: there is no moment in which it could take a signal
  // Generous, because only touched pages cost; and glibc takes the program's static thread-local
  // storage, which may be large, out of it: EINVAL says that it does not fit.
  constexpr std::size_t usual_stack = std::size_t{8} << 20;
  constexpr std::size_t largest_stack = std::size_t{512} << 20;
  starting = true;
  int error = EINVAL;
  for (std::size_t bytes = usual_stack; error == EINVAL && bytes <= largest_stack; bytes *= 2) {
    pthread_attr_setstacksize(&attributes, bytes);
    error = pthread_create(&thread, &attributes, body, argument);
  }
  starting = false;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  return error;
}

void settle_service_thread(const char* name) noexcept {
  pthread_setname_np(pthread_self(), name);
  if (CPU_COUNT(&processors_at_start) != 0) {
    sched_setaffinity(0, sizeof processors_at_start, &processors_at_start);
  }
}

void ask_for_short_slices() noexcept {
  // The kernel's struct sched_attr, which libc does not declare; asked for first, because nice goes
  // with it.
  struct {
    std::uint32_t size, policy;
    std::uint64_t flags;
    std::int32_t nice;
    std::uint32_t priority;
    std::uint64_t runtime, deadline, period;
  } attributes{};
  constexpr std::uint64_t shortest_slice = 100'000;  // ns
  if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) == 0) {
    attributes.runtime = shortest_slice;
    syscall(SYS_sched_setattr, 0, &attributes, 0);
  }
}

int keep_descriptors_only(std::initializer_list<int> ascending) noexcept {
  unsigned next = 0;
  for (const int descriptor : ascending) {
    const auto kept = static_cast<unsigned>(descriptor);
    if (kept > next && close_range(next, kept - 1, CLOSE_RANGE_UNSHARE) != 0) {
      return errno;
    }
    next = kept + 1;
  }
  return close_range(next, ~0U, CLOSE_RANGE_UNSHARE) == 0 ? 0 : errno;
}

}  // namespace growstack::handler
