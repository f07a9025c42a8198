// The part of a pool that looks into the caches of other threads.
#include "pool/core.hpp"

#include <algorithm>

namespace growstack {
namespace {

/// Caches of other threads that one release() looks into. Each one takes a system call.
constexpr std::size_t caches_at_a_time = 4;

}  // namespace

/// Puts those stacks of a cache into the pool that are deeper than they are kept. (Where no event
/// tells how deep a stack is, all of them.)
void PoolCore::put_too_deep(ThreadCache& cache) noexcept {
  cache.visit_lists([&](auto& list) {
    list.remove_if([&](OpenSlot slot) {
      const bool is_too_deep = slot.base() - slot.limit() > depths_.kept().of(slot.name_number());
      if (is_too_deep) {
        stacks_->put(slot);
      }
      return is_too_deep;
    });
  });
}

void PoolCore::drain(ThreadCache& cache) noexcept {
  cache.visit_lists([&](auto& list) { put_oldest(list, list.count()); });
}

void PoolCore::drain_caches() noexcept {
  for (ThreadCache* const cache : caches_) {
    cache->lock.seize();
    drain(*cache);
    cache->lock.release();
  }
}

void PoolCore::adopt_cache(ThreadCache& cache) noexcept {
  const Lock lock(mutex_);
  drain(cache);
  names_.merge(cache);
  std::erase(caches_, &cache);
  flattened_caches_ = 0;  // counted in the order that this changes
}

void PoolCore::detach_caches() noexcept {
  const Lock lock(mutex_);
  for (ThreadCache* const cache : caches_) {
    drain(*cache);
    cache->pool.store(0, std::memory_order_relaxed);
  }
  caches_.clear();
  flattened_caches_ = 0;
}

/// All other threads are gone, and their tables with them: the pool takes over what their caches
/// hold.
void PoolCore::after_fork_in_child() noexcept {
  stacks_->note_fork();
  ThreadCache* const mine = cache_here(identity_);
  for (ThreadCache* const cache : caches_) {
    cache->lock.reset();
    if (cache != mine) {
      drain(*cache);
      names_.merge(*cache);
      delete cache;
    }
  }
  std::erase_if(caches_, [&](const ThreadCache* cache) { return cache != mine; });
  flattened_caches_ = 0;
  mutex_.unlock();
}

// ---- stacks that are too deep -------------------------------------------------------------------

/// Returns how many stacks one acquire() or release() may trim, so that neither takes long.
std::uint32_t PoolCore::pieces_at_a_time() const noexcept {
  constexpr std::size_t bytes = std::size_t{8} * 1024 * 1024;
  constexpr std::size_t most = 128;
  return static_cast<std::uint32_t>(std::clamp(bytes / greatest_, std::size_t{1}, most));
}

/// To be called before the depths are learned anew: idle stacks stay as deep as before until they
/// are trimmed.
void PoolCore::note_greatest() noexcept {
  greatest_ = flattens_ ? std::max(greatest_, depths_.greatest()) : depths_.greatest();
}

/// Moves what threads keep that gave nothing back in the last interval into the pool, where demand
/// decides over it: it may be deep. Returns true if there is more to do.
bool PoolCore::drain_idle_caches_a_piece() noexcept {
  const std::size_t end = std::min(caches_.size(), looked_caches_ + caches_at_a_time);
  for (; looked_caches_ < end; ++looked_caches_) {
    ThreadCache& cache = *caches_[looked_caches_];
    if (!cache.was_used_since_last_look()) {
      cache.lock.seize();
      drain(cache);
      cache.lock.release();
    }
  }
  return looked_caches_ < caches_.size();
}

/// To be called when stacks are no longer kept as deep as before. The next release goes on with it.
void PoolCore::begin_to_flatten() noexcept {
  flattens_ = true;
  flattened_caches_ = 0;
  stacks_->begin_to_flatten();
  next_look_.store(0, std::memory_order_relaxed);
}

/// Trims idle stacks that are deeper than they are kept: moves them from the caches of threads to
/// the pool first. Returns true if there is more to do.
bool PoolCore::flatten_a_piece() noexcept {
  if (depths_.take_fall()) {
    begin_to_flatten();
  }
  const std::size_t end = std::min(caches_.size(), flattened_caches_ + caches_at_a_time);
  for (; flattens_ && flattened_caches_ < end; ++flattened_caches_) {
    ThreadCache& cache = *caches_[flattened_caches_];
    cache.lock.seize();
    put_too_deep(cache);
    cache.lock.release();
  }
  if (flattens_ && flattened_caches_ == caches_.size()) {
    flattens_ = stacks_->flatten_a_piece(pieces_at_a_time());
  }
  return flattens_;
}

}  // namespace growstack
