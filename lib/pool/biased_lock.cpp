#include "pool/biased_lock.hpp"

#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace growstack {
namespace {

/// Registers this process. A forked child stays registered.
bool register_for_barriers() noexcept {
  return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

}  // namespace

const bool BiasedLock::others_make_barrier = register_for_barriers();

bool BiasedLock::try_enter_with_care() noexcept {
  busy_.exchange(1, std::memory_order_seq_cst);
  if (state_.load(std::memory_order_seq_cst) != seized) {
    return true;
  }
  leave();
  return false;
}

void BiasedLock::seize() noexcept {
  state_.store(seized, std::memory_order_seq_cst);
  if (others_make_barrier) {
    // Cannot fail, because the process is registered.
    static_cast<void>(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
  }
  while (busy_.load(std::memory_order_seq_cst) != 0) {
    sched_yield();
  }
}

}  // namespace growstack
