#include "pool/register.hpp"

#include "pool/thread_cache.hpp"

#include <growstack/handler/init_order.hpp>

#include <pthread.h>

#include <algorithm>
#include <mutex>
#include <vector>

namespace growstack {
namespace {

struct Register {
  std::mutex lock;
  std::vector<RegisteredPool*> pools;  ///< by index; null: that pool has gone
  std::uint64_t pools_so_far = 0;

  template <class Visit>
  void visit_pools(Visit visit) const {
    for (RegisteredPool* const pool : pools) {
      if (pool != nullptr) {
        visit(*pool);
      }
    }
  }
};

/// Made when the program is loaded, because a child that is forked while another thread makes it
/// would find it half made forever. Never destroyed, because pools with static storage may outlive
/// it.
class TheRegister {
 public:
  TheRegister() : register_(*new Register) {
    // A child must not inherit a lock from a thread that it does not have.
    static_cast<void>(pthread_atfork(before_fork, in_parent, in_child));
  }
  Register& operator*() const noexcept { return register_; }

 private:
  static void before_fork() noexcept;
  static void in_parent() noexcept;
  static void in_child() noexcept;

  Register& register_;
};

[[gnu::init_priority(handler::init_registers)]] const TheRegister the_register;

void TheRegister::before_fork() noexcept {
  Register& all = *the_register;
  all.lock.lock();
  all.visit_pools([](RegisteredPool& pool) { pool.before_fork(); });
}

void TheRegister::in_parent() noexcept {
  Register& all = *the_register;
  all.visit_pools([](RegisteredPool& pool) { pool.after_fork_in_parent(); });
  all.lock.unlock();
}

void TheRegister::in_child() noexcept {
  Register& all = *the_register;
  all.visit_pools([](RegisteredPool& pool) { pool.after_fork_in_child(); });
  all.lock.unlock();
}

}  // namespace

PoolIdentity register_pool(RegisteredPool& pool) {
  Register& all = *the_register;
  const std::lock_guard guard(all.lock);
  auto free = std::find(all.pools.begin(), all.pools.end(), nullptr);
  if (free == all.pools.end()) {
    free = all.pools.insert(free, nullptr);
  }
  *free = &pool;
  return {.index = static_cast<std::uint32_t>(free - all.pools.begin()),
          .number = ++all.pools_so_far};
}

void detach_caches_of(RegisteredPool& pool) noexcept {
  const std::lock_guard guard((*the_register).lock);
  pool.detach_caches();
}

void forget_pool(std::uint32_t index) noexcept {
  Register& all = *the_register;
  const std::lock_guard guard(all.lock);
  all.pools[index] = nullptr;
}

void give_up_cache(std::uint32_t index, ThreadCache& cache) noexcept {
  Register& all = *the_register;
  const std::lock_guard guard(all.lock);
  if (cache.pool.load(std::memory_order_relaxed) != 0) {
    all.pools[index]->adopt_cache(cache);
  }
}

void add_pools_to(ArenaTotals& totals) {
  Register& all = *the_register;
  const std::lock_guard guard(all.lock);
  all.visit_pools([&](const RegisteredPool& pool) { pool.add_to(totals); });
}

}  // namespace growstack
