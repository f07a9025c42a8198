// The pools of this process.
#pragma once

#include "arenas/totals.hpp"
#include "pool/cache_table.hpp"

namespace growstack {

struct ThreadCache;

/// A pool as the register knows it. The register calls these functions while it holds its lock.
class RegisteredPool {
 public:
  RegisteredPool() = default;
  RegisteredPool(const RegisteredPool&) = delete;
  RegisteredPool& operator=(const RegisteredPool&) = delete;

  virtual void add_to(ArenaTotals& totals) const noexcept = 0;
  /// Takes over what the cache of a thread holds that ends.
  virtual void adopt_cache(ThreadCache& cache) noexcept = 0;
  /// Takes over what all caches hold. They belong to no pool afterwards.
  virtual void detach_caches() noexcept = 0;

  virtual void before_fork() noexcept = 0;
  virtual void after_fork_in_parent() noexcept = 0;
  virtual void after_fork_in_child() noexcept = 0;

 protected:
  ~RegisteredPool() = default;
};

/// Registers a pool: from here on it takes part in totals and forks, and adopts the caches of
/// threads that end. Any thread. Throws std::bad_alloc.
[[nodiscard]] PoolIdentity register_pool(RegisteredPool& pool);

/// Detaches the caches of a pool that has ended. It still takes part in totals and forks until its
/// last stack is back. Any thread.
void detach_caches_of(RegisteredPool& pool) noexcept;

/// Takes a pool off the register. Any thread.
void forget_pool(std::uint32_t index) noexcept;

/// Gives the cache of a thread that ends to the pool with that index, unless the pool has ended.
void give_up_cache(std::uint32_t index, ThreadCache& cache) noexcept;

/// Adds the arenas of all pools of this process. Any thread; not from a signal handler.
void add_pools_to(ArenaTotals& totals);

}  // namespace growstack
