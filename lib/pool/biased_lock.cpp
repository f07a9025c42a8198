#include "pool/biased_lock.hpp"

#include <growstack/handler/init_order.hpp>

#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

namespace growstack {
namespace {

/// Registers this process. A forked child stays registered.
bool register_for_barriers() noexcept {
  return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

bool make_barrier_elsewhere() noexcept {
  return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

/// A bare system call, because nanosleep(2) of libc is a cancellation point.
void sleep_for(long nanoseconds) noexcept {
  timespec left{.tv_sec = 0, .tv_nsec = nanoseconds};
  while (syscall(SYS_nanosleep, &left, &left) != 0 && errno == EINTR) {
  }
}

}  // namespace

/// Made before any pool, also before one with static storage.
[[gnu::init_priority(handler::init_foundations)]] std::atomic<bool> BiasedLock::others_make_barrier{
    register_for_barriers()};

bool BiasedLock::try_enter_with_care() noexcept {
  busy_.exchange(1, std::memory_order_seq_cst);
  if (state_.load(std::memory_order_seq_cst) != seized) {
    return true;
  }
  leave();
  return false;
}

void BiasedLock::seize() noexcept {
  const bool owner_makes_none = state_.exchange(seized, std::memory_order_seq_cst) == biased;
  if (owner_makes_none && !make_barrier_elsewhere()) {
    // A filter on system calls that was installed since. The owner may have stored `busy_` before
    // it could see `seized`, and that store may still be on its way. A processor keeps a store back
    // for nanoseconds only, and loses none if the kernel takes the owner off it. So the store is
    // visible after this time. From the release on, the owner makes the barrier.
    others_make_barrier.store(false, std::memory_order_relaxed);
    constexpr long ample = 1'000'000;
    sleep_for(ample);
  }
  constexpr unsigned hopeful_attempts = 100;
  for (unsigned attempt = 0; busy_.load(std::memory_order_seq_cst) != 0; ++attempt) {
    if (attempt < hopeful_attempts) {
      sched_yield();
    } else {
      // A real-time thread that only yields would keep the owner, which it has preempted, from
      // running.
      constexpr long pause = 50'000;
      sleep_for(pause);
    }
  }
}

}  // namespace growstack
