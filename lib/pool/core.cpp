#include "pool/core.hpp"

#include "arenas/validated_options.hpp"
#include "errors.hpp"
#include "memory/residency.hpp"
#include "pool/coarse_clock.hpp"
#include "pool/kept_pools.hpp"
#include "strategies/automatic.hpp"

#include <growstack/attach.hpp>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <utility>

namespace growstack {
namespace {

/// Stacks that one acquire() or release() gives back at most, so that neither takes long.
constexpr std::size_t cooled_at_a_time = 128;
constexpr std::uint32_t dismantled_at_a_time = 1024;

/// Throws std::system_error if a pool cannot have stacks of that strategy.
void require_pools(const StrategyDescription& strategy) {
  if (!strategy.pools()) {
    fail(EINVAL,
         std::string(strategy.name) +
             (strategy.guarded
                  ? ": cannot keep its address space from stack to stack, so it has no pools"
                  : ": its stacks have no guard, and a pool has none without"));
  }
}

/// Throws std::system_error if the retention is out of range. Nanoseconds, in which it is counted
/// from here on, could not hold every number of milliseconds.
std::chrono::milliseconds checked_retention(const PoolOptions& options) {
  if (options.retention.count() < 0 || options.retention > std::chrono::hours(24 * 365)) {
    fail(EINVAL, "PoolOptions::retention must be from 0 (never give back) to a year");
  }
  return options.retention;
}

}  // namespace

// ---- life ---------------------------------------------------------------------------------------

PoolCore::PoolCore(const PoolOptions& options, MadeFor made_for, bool lock_on_fault)
    : made_for_(made_for),
      options_({.reserve = options.reserve,
                .guard = options.guard,
                .policy = options.policy,
                .strategy = options.strategy,
                .lock_on_fault = lock_on_fault,
                .core_depth = options.core_depth,
                .name = options.name}),
      account_("PoolOptions::budget", &process_account(), options.budget),
      demand_(checked_retention(options)),
      names_(options.name) {
  if (options.most_stacks == 0) {
    fail(EINVAL, "PoolOptions::most_stacks must be at least 1");
  }
  fallback_reason_ =
      open_with_best_strategy(validated(options_), options.budget, [&](const StackOptions& asked) {
        const Implementation& strategy = *implementation(asked.strategy);
        require_pools(strategy.description());
        strategy.check(asked);
        options_ = asked;
        stacks_.emplace(options_, options.most_stacks, *this, account_,
                        made_for == MadeFor::program ? arena_sizes_of_pools : ArenaSizes{});
        Batch first;
        std::uint32_t count =
            or_instead_of_kept(asked.strategy, [&] { return stacks_->make(first); });
        for (; count > 0; --count) {
          stacks_->put(first[count - 1]);
        }
      });
  demand_.begin(coarse_now(), stacks_->open());
  next_look_ = demand_.next_look(true).count();
  try {
    identity_ = register_pool(*this);
  } catch (...) {
    stacks_->end();
    throw;
  }
}

PoolCore::~PoolCore() { stacks_->end(); }

void PoolCore::abandon() noexcept {
  detach_caches_of(*this);
  Lock lock(mutex_);
  abandoned_ = true;
  identity_.number = no_number;  // threads remember the pool that they used last by its number
  end_if_nobody_is_out(lock);
}

/// Of an abandoned pool. As long as stacks are out, only these live on.
void PoolCore::end_if_nobody_is_out(Lock& lock) noexcept {
  if (stacks_->out() > 0) {
    stacks_->cool_all();
    return;
  }
  lock.unlock();
  forget_pool(identity_.index);
  delete this;
}

// ---- through the lock ---------------------------------------------------------------------------

/// Returns null for a thread that ends: it has given its caches up.
ThreadCache* PoolCore::make_cache_here() {
  if (ThreadCache* const cache = cache_here(identity_); cache != nullptr || cache_table.is_over) {
    return cache;
  }
  attach_thread();
  make_room_for(identity_);
  auto made = std::make_unique<ThreadCache>(options_.name);
  made->pool.store(identity_.number, std::memory_order_relaxed);
  {
    const Lock lock(mutex_);
    caches_.push_back(made.get());
  }
  put_cache(identity_, std::move(made));
  return cache_here(identity_);
}

OpenSlot PoolCore::acquire_slowly(std::string_view name) {
  return or_instead_of_kept(options_.strategy,
                            [&] { return acquire_with_lock(make_cache_here(), name); });
}

OpenSlot PoolCore::acquire_with_lock(ThreadCache* cache, std::string_view name) {
  const Lock lock(mutex_);
  const std::size_t number = names_.number_of(name);
  OpenSlot slot;
  if (cache != nullptr && !cache->empty()) {
    slot = cache->pop();
  } else {
    Batch taken;
    std::uint32_t count = take_or_make(taken);
    slot = taken[0];  // the lowest one
    while (count > 1) {
      --count;  // from the highest one down: a cache hands out first what it got last
      if (cache != nullptr && made_for_ == MadeFor::program) {
        cache->push(taken[count]);
      } else {
        stacks_->put(taken[count]);
      }
    }
  }
  ++misses_;
  demand_.rise(stacks_->out());
  static_cast<void>(names_.tally_of(cache, number));  // so that the next time the cache has it
  name_it(slot, number, names_.name(number));
  static_cast<void>(follow_demand(coarse_now()));
  return slot;
}

void PoolCore::release_slowly(OpenSlot slot, std::size_t depth) noexcept {
  ThreadCache* cache = nullptr;
  try {
    cache = abandoned_ ? nullptr : make_cache_here();
  } catch (...) {  // then without a cache
  }
  Lock lock(mutex_);
  const std::uint32_t number = slot.record().marks.load(std::memory_order_relaxed) & name_mask;
  names_.tally_of(cache, number).count_ended(depth);
  if (cache == nullptr) {
    stacks_->put(slot);
  } else {
    if (cache->full()) {
      put_oldest(*cache, ThreadCache::batch);
    }
    cache->push(slot);
  }
  if (!abandoned_) {
    static_cast<void>(follow_demand(coarse_now()));
  } else {
    end_if_nobody_is_out(lock);
  }
}

std::uint32_t PoolCore::take_or_make(Batch& taken) {
  std::uint32_t count = stacks_->take(taken);
  if (count != 0) {
    return count;
  }
  try {
    return stacks_->make(taken);
  } catch (const std::exception&) {
    drain_caches();  // a stack that another thread keeps for itself is better than none
    count = stacks_->take(taken);
    if (count == 0) {
      throw;
    }
    return count;
  }
}

/// Returns true if there is more to do at once.
bool PoolCore::follow_demand(std::chrono::nanoseconds now) noexcept {
  if (now.count() < next_look_.load(std::memory_order_relaxed)) {
    return false;
  }
  const auto excess = [&] { return demand_.excess(stacks_->out(), stacks_->warm()); };
  demand_.fall(now, stacks_->out());
  stacks_->cool(std::min(cooled_at_a_time, excess()));
  stacks_->dismantle_a_piece(dismantled_at_a_time);
  const bool has_more_to_do = excess() > 0 || stacks_->has_to_dismantle();
  next_look_.store(demand_.next_look(has_more_to_do).count(), std::memory_order_relaxed);
  return has_more_to_do;
}

bool PoolCore::trim() noexcept {
  const Lock lock(mutex_);
  drain_caches();
  const std::size_t warm = stacks_->warm();
  stacks_->cool_all();
  demand_.forget(stacks_->out());
  return warm > 0;
}

// ---- caches of other threads --------------------------------------------------------------------

void PoolCore::put_oldest(ThreadCache& cache, std::uint32_t how_many) noexcept {
  const std::uint32_t count = cache.count.load(std::memory_order_relaxed);
  for (std::uint32_t index = 0; index < how_many; ++index) {
    stacks_->put(cache.stacks[index]);
  }
  std::copy(cache.stacks.begin() + how_many, cache.stacks.begin() + count, cache.stacks.begin());
  cache.count.store(count - how_many, std::memory_order_relaxed);
}

void PoolCore::drain(ThreadCache& cache) noexcept {
  put_oldest(cache, cache.count.load(std::memory_order_relaxed));
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
}

void PoolCore::detach_caches() noexcept {
  const Lock lock(mutex_);
  for (ThreadCache* const cache : caches_) {
    drain(*cache);
    cache->pool.store(0, std::memory_order_relaxed);
  }
  caches_.clear();
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
  mutex_.unlock();
}

// ---- observers ----------------------------------------------------------------------------------

/// Under the lock.
std::size_t PoolCore::live() const noexcept {
  std::size_t in_caches = 0;
  for (const ThreadCache* const cache : caches_) {
    in_caches += cache->count.load(std::memory_order_relaxed);
  }
  return stacks_->out() - std::min(stacks_->out(), in_caches);
}

PoolStatistics PoolCore::statistics() const {
  const Lock lock(mutex_);
  PoolStatistics figures;
  names_.visit(caches_, [&](std::size_t, const NameTally& tally) {
    figures.high_water += tally.ended(options_.policy.initial_commit);
  });
  figures.live = live();
  figures.cached = stacks_->open() - stacks_->cold() - figures.live;
  figures.cold = stacks_->cold();
  figures.arenas = stacks_->arenas().size();
  figures.reserved = stacks_->open() * reserve();
  figures.committed = account_.used();
  figures.created = stacks_->created();
  figures.misses = misses_;
  const std::uint64_t acquired = figures.high_water.count() + figures.live;
  figures.hits = acquired - std::min(acquired, misses_);
  figures.trims = trims_.load(std::memory_order_relaxed);
  figures.growth_faults = growth_faults_.load(std::memory_order_relaxed);
  return figures;
}

std::vector<NamedHighWater> PoolCore::high_water_by_name() const {
  const Lock lock(mutex_);
  std::vector<NamedHighWater> all;
  for (std::size_t number = 0; number < names_.count(); ++number) {
    all.push_back({.name = names_.name(number), .high_water = {}});
  }
  names_.visit(caches_, [&](std::size_t number, const NameTally& tally) {
    all[number].high_water += tally.ended(options_.policy.initial_commit);
  });
  return all;
}

std::size_t PoolCore::resident() const {
  const Lock lock(mutex_);
  std::size_t bytes = 0;
  for (const auto& arena : stacks_->arenas()) {
    if (arena->used_count() > 0) {
      const std::uintptr_t begin = arena->bounds_of(0).guard;
      bytes += growstack::resident(begin, arena->bounds_of(arena->used_count() - 1).base - begin);
    }
  }
  return bytes;
}

}  // namespace growstack
