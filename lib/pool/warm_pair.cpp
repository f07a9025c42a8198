// The warm pair: a thread acquires a stack from its own cache and gives it back there. Both ways
// are in this one file, so that the compiler sees each as one function from its public name down.
//
// Both ways together take some ten nanoseconds, most of which is waiting for what was stored just
// before. They touch two words of the thread's table, the cache and the slot, and save no register.
// Whatever is not as usual is a call to another function.
#include "pool/core.hpp"

#include "arenas/single_stacks.hpp"
#include "memory/coarse_clock.hpp"
#include "memory/vm.hpp"
#include "sanitizers.hpp"

#include <growstack/handler/ranges.hpp>
#include <growstack/stack.hpp>
#include <growstack/stack_pool.hpp>

#include <algorithm>
#include <exception>
#include <mutex>

namespace growstack {

namespace {

/// Tells a sanitizer that nobody has frames on a stack whose growth is told.
[[gnu::always_inline]] inline void forget_contents([[maybe_unused]] OpenSlot slot) noexcept {
  if constexpr (sanitizers::remember_frames) {
    const std::uintptr_t limit = slot.record().limit.load(std::memory_order_relaxed);
    sanitizers::forget_stack_contents(limit, slot.base() - limit);
  }
}

}  // namespace

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
  const CacheTable& table = cache_table;
  if (table.last_pool == identity_.number &&
      slot.record().marks.load(std::memory_order_acquire) == 0) [[likely]] {
    forget_contents(slot);
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
  OpenSlot slot;
  const std::size_t number = cache->number_of(name);
  if (NameHere* const here = cache->name(number); here != nullptr && !here->stacks.empty()) {
    slot = here->stacks.pop();
  } else if (number != ThreadCache::most_names && !cache->stacks.empty() &&
             (stacks_->deep() == 0 || !depths_.is_apart(number))) {
    slot = cache->stacks.pop();
  }
  cache->lock.leave();
  if (!slot) {
    return {};
  }
  name_it(slot, number, number == 0 ? options_.name : name);
  return slot;
}

/// Gives a stack back that has grown, has another name than the pool's, or was left by longjmp; or
/// gives one back into a cache that is full, or that is not of the pool used last; or takes its
/// turn to look at the clock.
void PoolCore::release_with_care(OpenSlot slot) noexcept {
  const std::uint32_t marked = slot.record().marks.load(std::memory_order_acquire);
  if ((marked & ~(name_mask | grows_unseen_mark)) != 0 && slot.has_frames_of_caller()) {
    return;  // the process ends: see ~Stack
  }
  if ((marked & low_end_mark) != 0 && slot.implementation().permit_all(slot.record()) != 0) {
    end_unusable(slot);
    return;
  }
  const Ended ended = end_marked(slot, marked);
  ThreadCache* const cache = cache_here(identity_);
  if (cache != nullptr && cache->is_time_to_look()) {
    const std::chrono::nanoseconds now = look_at_clock(*cache);
    if (depths_.take_turn_to_sample(ended.number, now)) {
      make_sample(slot);
    }
  }
  if (cache == nullptr || (ended.is_measured && depths_.learns()) || !cache->lock.try_enter()) {
    release_slowly(slot, ended);
    return;
  }
  bool is_back = false;
  if (NameTally* const tally = cache->tally(ended.number); tally != nullptr) {
    use_list(*cache, ended.number, [&](auto& list, bool is_full) {
      is_back = !is_full;
      if (is_back) {
        list.push(slot);
        count(*tally, ended);
      }
    });
  }
  // The last touch of the pool if the stack is back: the pool may end from here on (is_idle()).
  cache->lock.leave();
  if (!is_back) {
    release_slowly(slot, ended);
  }
}

/// Takes the marks of a tenancy off a stack, and trims the stack if it is deeper than stacks of its
/// name are kept.
PoolCore::Ended PoolCore::end_marked(OpenSlot slot, std::uint32_t marked) noexcept {
  handler::SlotRecord& record = slot.record();
  Ended ended{.number = marked & name_mask, .depth = 0, .is_measured = false, .was_sample = false};
  if (marked == ended.number) {
    forget_contents(slot);
    return ended;
  }
  // Taken off before it is known how deep to keep the stack. Another thread that publishes another
  // depth marks the stack after that: either we see the depth, or the mark stays.
  constexpr std::uint32_t kept_marks = name_mask | grows_unseen_mark | handler::left_below_mark;
  marked = record.marks.fetch_and(kept_marks, std::memory_order_acquire);
  const std::size_t kept = depths_.kept().of(ended.number);
  if ((marked & (handler::grown_mark | handler::left_below_mark | grows_unseen_mark | sampled_mark |
                 look_mark)) != 0) {
    ended.depth = std::max(slot.base() - slot.high_water(), vm::page_size());
    ended.was_sample = (marked & sampled_mark) != 0;
    // A stack that did not grow may be too deep, but then its last tenants were allowed to.
    ended.is_measured =
        ended.was_sample ||
        (ended.depth > kept && (marked & (handler::grown_mark | grows_unseen_mark)) != 0);
    sanitizers::forget_stack_contents(slot.base() - ended.depth, ended.depth);
    flatten_grown(slot, ended.depth, account_.has_plenty() ? kept : options_.policy.initial_commit,
                  marked);
  }
  return ended;
}

/// Makes the stack of a tenancy that went `depth` bytes deep ready for the next one.
void PoolCore::flatten_grown(OpenSlot slot, std::size_t depth, std::size_t kept,
                             std::uint32_t marked) noexcept {
  handler::SlotRecord& record = slot.record();
  const bool is_left_below = (marked & handler::left_below_mark) != 0;
  if (is_left_below) {  // a trim at the limit takes all that lies below
    kept = std::min(kept, slot.base() - record.limit.load(std::memory_order_relaxed));
  }
  if (depth <= kept && !is_left_below) {
    record.high_water.store(record.limit.load(std::memory_order_relaxed),
                            std::memory_order_relaxed);
  } else {
    const bool for_good = (marked & look_mark) != 0;
    const int error = for_good ? slot.flatten_for_good(kept) : slot.flatten(kept);
    if (error == 0 && is_left_below) {
      record.marks.fetch_and(~handler::left_below_mark, std::memory_order_relaxed);
    }
    if (error == 0 && (marked & grows_unseen_mark) == 0) {
      trims_.fetch_add(1, std::memory_order_relaxed);
    }
  }
  growth_faults_.fetch_add(record.growth_faults.exchange(0, std::memory_order_relaxed),
                           std::memory_order_relaxed);
  record.remote_growth_faults.store(0, std::memory_order_relaxed);
  record.unseen_growth.store(0, std::memory_order_relaxed);
}

/// Lets the next tenancy of a stack begin at the warm size, so that it tells how deep it goes.
void PoolCore::make_sample(OpenSlot slot) noexcept {
  if (slot.flatten(options_.policy.initial_commit) == 0) {
    slot.record().marks.fetch_or(sampled_mark, std::memory_order_relaxed);
  }
}

void PoolCore::count(NameTally& tally, const Ended& ended) noexcept {
  if (ended.is_measured) {
    tally.count_measured(ended.depth);
  } else {
    tally.count_quiet();
    tally.note_deepest(ended.depth);
  }
}

/// Another thread may set a mark meanwhile (look_mark).
void PoolCore::name_it(OpenSlot slot, std::size_t number, std::string_view name) noexcept {
  std::atomic<std::uint32_t>& marks = slot.record().marks;
  std::uint32_t now = marks.load(std::memory_order_relaxed);
  if ((now & name_mask) == number) {
    return;
  }
  while (!marks.compare_exchange_weak(now, (now & ~name_mask) | static_cast<std::uint32_t>(number),
                                      std::memory_order_relaxed)) {
  }
  handler::set_name(slot.record(), name);
}

/// Returns the time.
std::chrono::nanoseconds PoolCore::look_at_clock(ThreadCache& cache) noexcept {
  const std::chrono::nanoseconds now = coarse_now();
  bool has_more_to_do = false;
  if (now.count() >= next_look_.load(std::memory_order_relaxed)) {
    const Lock lock(mutex_, std::try_to_lock);
    has_more_to_do = !lock || follow_demand(now);
  }
  cache.look_again(has_more_to_do);
  return now;
}

}  // namespace growstack
