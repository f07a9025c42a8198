#include "pool/cache_table.hpp"

#include "errors.hpp"
#include "pool/kept_here.hpp"
#include "pool/register.hpp"
#include "pool/thread_cache.hpp"

#include <growstack/handler/init_order.hpp>

#include <pthread.h>

#include <algorithm>
#include <climits>
#include <string>
#include <utility>

namespace growstack {

[[gnu::tls_model("initial-exec")]] constinit thread_local CacheTable cache_table{};

namespace {

void give_up_all_caches(void* /*any*/) noexcept {
  CacheTable& table = cache_table;
  table.is_over = true;
  end_kept_here();
  table.last_pool = 0;
  for (std::uint32_t index = 0; index < table.size; ++index) {
    if (ThreadCache* const cache = table.caches[index]; cache != nullptr) {
      give_up_cache(index, *cache);
      delete cache;
    }
  }
  delete[] std::exchange(table.caches, nullptr);
  table.size = 0;
}

/// A pthread key, because its destructor runs after those of all thread_local objects, which may
/// own stacks.
class ThreadEnd {
 public:
  ThreadEnd() noexcept : error_(pthread_key_create(&key_, give_up_all_caches)) {}

  /// Throws std::system_error.
  void watch_this_thread() const {
    const int error = error_ != 0 ? error_ : pthread_setspecific(key_, this);
    if (error != 0) {
      fail(error, "cannot watch for the end of a thread (PTHREAD_KEYS_MAX is " +
                      std::to_string(PTHREAD_KEYS_MAX) + ")");
    }
  }

 private:
  pthread_key_t key_{};
  int error_;
};

[[gnu::init_priority(handler::init_registers)]] const ThreadEnd thread_end;

}  // namespace

ThreadCache* find_cache(const PoolIdentity& pool) noexcept {
  CacheTable& table = cache_table;
  ThreadCache* const cache = pool.index < table.size ? table.caches[pool.index] : nullptr;
  if (cache == nullptr || cache->pool.load(std::memory_order_relaxed) != pool.number) {
    return nullptr;
  }
  table.last_pool = pool.number;
  table.last = cache;
  return cache;
}

void make_room_for(const PoolIdentity& pool) {
  CacheTable& table = cache_table;
  if (pool.index < table.size) {
    return;
  }
  thread_end.watch_this_thread();
  const std::uint32_t size = std::max(pool.index + 1, 2 * table.size);
  auto* const larger = new ThreadCache*[size]();
  std::copy_n(table.caches, table.size, larger);
  delete[] std::exchange(table.caches, larger);
  table.size = size;
}

void put_cache(const PoolIdentity& pool, std::unique_ptr<ThreadCache> cache) noexcept {
  cache_table.last_pool = 0;  // it may be the one that is deleted here
  delete std::exchange(cache_table.caches[pool.index], cache.release());
}

}  // namespace growstack
