// Single stacks and pools, all of this process.
#pragma once

#include "arenas/arena.hpp"

#include <cstddef>
#include <cstdint>

namespace growstack {

class PoolCore;

/// Opens a stack in a slot. The options are validated and in whole pages. Any thread. Throws
/// std::system_error.
[[nodiscard]] Place open_slot(const StackOptions& options);

/// Gives the memory of such a stack back, and its address space when it was the last of its arena.
/// Any thread.
void close_slot(Place place) noexcept;

struct PoolCache;

/// Where a thread looks for its cache of a pool.
struct PoolIdentity {
  std::uint32_t index = 0;   ///< in each thread's table of caches; used again when a pool has gone
  std::uint64_t number = 0;  ///< never used again, never 0
};

/// Pools take part in totals and forks, and adopt the caches of threads that end. Throws
/// std::bad_alloc.
[[nodiscard]] PoolIdentity register_pool(PoolCore& pool);

/// The pool has ended: its caches belong to nobody afterwards. Its core still takes part, until the
/// last stack is back.
void detach_caches_of(PoolCore& pool) noexcept;
void forget_pool(std::uint32_t index) noexcept;

/// A thread ends that has a cache of the pool with that index, if that is still there.
void give_up_cache(std::uint32_t index, PoolCache& cache) noexcept;

/// Live stacks and their bytes, all arenas together. Any thread; not from a signal handler.
struct ArenaTotals {
  std::size_t stacks = 0;
  std::size_t arenas = 0;
  std::size_t reserved = 0;
  std::size_t committed = 0;

  void add(Arena& arena) noexcept;
};
[[nodiscard]] ArenaTotals arena_totals();

}  // namespace growstack
