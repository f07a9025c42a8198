// The warm pair: a thread acquires a stack from its own cache and gives it back there. Both ways
// are in this one file, so that the compiler sees each as one function from its public name down.
//
// Both ways together take some ten nanoseconds, most of which is waiting for what was stored just
// before. They touch two words of the thread's table, the cache and the slot, and save no register.
// Whatever is not as usual is a call to another function.
#include "pool/core.hpp"

#include "arenas/single_stacks.hpp"
#include "memory/vm.hpp"
#include "pool/coarse_clock.hpp"
#include "sanitizers.hpp"

#include <growstack/handler/ranges.hpp>
#include <growstack/stack.hpp>
#include <growstack/stack_pool.hpp>

#include <algorithm>
#include <exception>
#include <mutex>

namespace growstack {

// ---- the usual case -----------------------------------------------------------------------------

[[gnu::always_inline]] inline OpenSlot PoolCore::acquire() {
  const CacheTable& table = cache_table;
  if (table.last_pool == identity_.number) [[likely]] {
    if (const OpenSlot slot = table.last->take(); slot) [[likely]] {
      return slot;
    }
  }
  return acquire(options_.name);
}

[[gnu::always_inline]] inline void PoolCore::release(OpenSlot slot) noexcept {
  sanitizers::forget_stack_contents(slot.base() - options_.policy.initial_commit,
                                    options_.policy.initial_commit);
  const CacheTable& table = cache_table;
  if (table.last_pool == identity_.number &&
      slot.record().marks.load(std::memory_order_acquire) == 0) [[likely]] {
    if (table.last->put(slot)) [[likely]] {
      return;
    }
  }
  release_with_care(slot);
}

namespace {

/// A function of its own, so that the usual case saves no register for it. Only a stack that
/// belongs to no pool owns its fallback reason.
[[gnu::noinline]] void end_single_stack(OpenSlot slot,
                                        const std::string* fallback_reason) noexcept {
  delete fallback_reason;
  if (!slot.has_frames_of_caller()) {  // otherwise the process ends: see ~Stack
    close_single_stack(slot);
  }
}

/// Gives a stack back to its pool, or ends it.
[[gnu::always_inline]] inline void end_tenancy(OpenSlot slot,
                                               const std::string* fallback_reason) noexcept {
  if (PoolCore* const pool = slot.arena().pool; pool != nullptr) {
    pool->release(slot);
  } else {
    end_single_stack(slot, fallback_reason);
  }
}

}  // namespace

handler::SlotRecord* StackPool::acquire_slot() { return &core_->acquire().record(); }

handler::SlotRecord* StackPool::acquire_slot(std::string_view name) {
  return &core_->acquire(name).record();
}

Stack::~Stack() {
  if (slot_ != nullptr) {
    end_tenancy(OpenSlot(slot_), fallback_reason_);
  }
}

detail::ReleasedStack detail::acquire_released(StackPool& pool) {
  const OpenSlot slot = pool.core_->acquire();
  return {.base = reinterpret_cast<void*>(slot.base()), .reserved = slot.base() - slot.floor()};
}

void detail::end_released(void* base) noexcept {
  const OpenSlot slot = Arena::slot_at(reinterpret_cast<std::uintptr_t>(base) - 1);
  if (!slot) {
    std::terminate();
  }
  end_tenancy(slot, nullptr);
}

// ---- with care, but without the lock ------------------------------------------------------------

OpenSlot PoolCore::acquire(std::string_view name) {
  const OpenSlot slot = acquire_at_once(name);
  return slot ? slot : acquire_slowly(name);
}

OpenSlot PoolCore::acquire_at_once(std::string_view name) noexcept {
  ThreadCache* const cache = cache_here(identity_);
  if (cache == nullptr || !cache->lock.try_enter()) {
    return {};
  }
  const std::size_t number = cache->number_of(name);
  if (cache->empty() || number == ThreadCache::most_names) {
    cache->lock.leave();
    return {};
  }
  const OpenSlot slot = cache->pop();
  cache->lock.leave();
  name_it(slot, number, number == 0 ? options_.name : name);
  return slot;
}

/// Gives a stack back that has grown, has another name than the pool's, or was left by longjmp; or
/// gives one back into a cache that is full, or that is not of the pool used last; or takes its
/// turn to look at the clock.
void PoolCore::release_with_care(OpenSlot slot) noexcept {
  std::atomic<std::uint32_t>& marks = slot.record().marks;
  const std::uint32_t marked = marks.load(std::memory_order_relaxed);
  const std::uint32_t number = marked & name_mask;
  if ((marked & ~(name_mask | grows_unseen_mark)) != 0 && slot.has_frames_of_caller()) {
    return;  // the process ends: see ~Stack
  }
  if ((marked & low_end_mark) != 0 && slot.implementation().permit_all(slot.record()) != 0) {
    return;  // nobody could use it: it stays out
  }
  std::size_t depth = options_.policy.initial_commit;
  if (marked != number) {
    if ((marked & (handler::grown_mark | grows_unseen_mark)) != 0) {
      depth = trim_grown(slot);
    }
    marks.fetch_and(name_mask | grows_unseen_mark, std::memory_order_relaxed);
  }
  ThreadCache* const cache = cache_here(identity_);
  if (cache == nullptr || !cache->lock.try_enter()) {
    release_slowly(slot, depth);
    return;
  }
  NameTally* const tally = cache->tally(number);
  if (tally == nullptr || cache->full()) {
    cache->lock.leave();
    release_slowly(slot, depth);
    return;
  }
  cache->push(slot);
  tally->count_ended(depth);
  if (cache->is_time_to_look()) {
    look_at_clock(*cache);
  }
  cache->lock.leave();  // the last touch of the pool, which may end from here on: see is_idle()
}

/// Trims a stack to the warm size. Returns how deep it was, in bytes.
std::size_t PoolCore::trim_grown(OpenSlot slot) noexcept {
  handler::SlotRecord& record = slot.record();
  const std::uintptr_t base = slot.base();
  const std::size_t depth = std::max(base - slot.high_water(), vm::page_size());
  sanitizers::forget_stack_contents(base - depth, depth);
  const bool was_trimmed = slot.trim(base - options_.policy.initial_commit) == 0;
  const bool was_told = (record.marks.load(std::memory_order_relaxed) & grows_unseen_mark) == 0;
  if (was_trimmed && was_told) {
    trims_.fetch_add(1, std::memory_order_relaxed);
  }
  record.high_water.store(record.limit.load(std::memory_order_relaxed), std::memory_order_relaxed);
  growth_faults_.fetch_add(record.growth_faults.exchange(0, std::memory_order_relaxed),
                           std::memory_order_relaxed);
  record.remote_growth_faults.store(0, std::memory_order_relaxed);
  record.unseen_growth.store(0, std::memory_order_relaxed);
  return depth;
}

void PoolCore::name_it(OpenSlot slot, std::size_t number, std::string_view name) noexcept {
  std::atomic<std::uint32_t>& marks = slot.record().marks;
  const std::uint32_t now = marks.load(std::memory_order_relaxed);
  if ((now & name_mask) != number) {
    marks.store((now & ~name_mask) | static_cast<std::uint32_t>(number), std::memory_order_relaxed);
    handler::set_name(slot.record(), name);
  }
}

void PoolCore::look_at_clock(ThreadCache& cache) noexcept {
  const std::chrono::nanoseconds now = coarse_now();
  bool has_more_to_do = false;
  if (now.count() >= next_look_.load(std::memory_order_relaxed)) {
    const Lock lock(mutex_, std::try_to_lock);
    has_more_to_do = !lock || follow_demand(now);
  }
  cache.until_look = has_more_to_do ? 1 : ThreadCache::ended_between_looks;
}

}  // namespace growstack
