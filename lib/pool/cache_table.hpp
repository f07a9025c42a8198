// Where a thread finds its caches: one table in each thread, one entry for each pool.
#pragma once

#include <cstdint>
#include <memory>

namespace growstack {

struct ThreadCache;

/// Identifies a pool in the tables of threads.
struct PoolIdentity {
  std::uint32_t index = 0;   ///< its entry in each table; a later pool may get it again
  std::uint64_t number = 0;  ///< never 0, and no other pool ever has it
};

/// The number that no pool has.
inline constexpr std::uint64_t no_number = UINT64_MAX;

/// Has no constructor and no destructor, so that it works from a thread's first instruction to its
/// last.
struct CacheTable {
  std::uint64_t last_pool;  ///< the number of the pool that was used last
  ThreadCache* last;        ///< the cache of that pool
  ThreadCache** caches;     ///< by PoolIdentity::index
  std::uint32_t size;       ///< entries of `caches`
  bool is_over;             ///< the thread ends, and has given its caches up
};

/// Read without a function call, which the default model of a shared library would make.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local CacheTable cache_table;

/// Returns this thread's cache of a pool, or null. Remembers it as the one that was used last.
[[nodiscard]] ThreadCache* find_cache(const PoolIdentity& pool) noexcept;

/// Returns the same as find_cache(), at once if the pool was used last.
[[nodiscard]] inline ThreadCache* cache_here(const PoolIdentity& pool) noexcept {
  return cache_table.last_pool == pool.number ? cache_table.last : find_cache(pool);
}

/// Makes room in this thread's table for an entry of the pool, and sees to it that the caches are
/// given up when the thread ends. Throws std::system_error, std::bad_alloc.
void make_room_for(const PoolIdentity& pool);

/// Puts a cache of the pool into this thread's table, for which make_room_for() was called. What
/// the entry held belongs to a pool that has ended.
void put_cache(const PoolIdentity& pool, std::unique_ptr<ThreadCache> cache) noexcept;

}  // namespace growstack
