#include "pool/core.hpp"

#include "arenas/validated_options.hpp"
#include "errors.hpp"
#include "memory/coarse_clock.hpp"
#include "memory/residency.hpp"
#include "pool/kept_pools.hpp"
#include "strategies/automatic.hpp"

#include <growstack/attach.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <exception>
#include <utility>

namespace growstack {
namespace {

/// Stacks of an arena that one acquire() or release() ends at most, so that neither takes long.
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
  if (options.warm_size != WarmSize::learned && options.warm_size != WarmSize::fixed) {
    fail(EINVAL, "PoolOptions::warm_size is none of the enumeration");
  }
  if (options.most_stacks == 0) {
    fail(EINVAL, "PoolOptions::most_stacks must be at least 1");
  }
  fallback_reason_ =
      open_with_best_strategy(validated(options_), options.budget, [&](const StackOptions& asked) {
        const Implementation& strategy = *implementation(asked.strategy);
        require_pools(strategy.description());
        strategy.check(asked);
        options_ = asked;
        stacks_.emplace(options_, options.most_stacks, *this, depths_, account_,
                        made_for == MadeFor::program ? arena_sizes_of_pools : ArenaSizes{});
        depths_.begin(depths_of(options), coarse_now());
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

/// Returns the depth to which stacks may be kept at most. A stack of guard_markers that has left
/// its window grows unseen, and a frame that is larger than the rest of the window leaves it.
std::size_t PoolCore::most_kept() const noexcept {
  constexpr std::size_t least_rest = std::size_t{64} * 1024;
  const Layout& layout = stacks_->kind().layout;
  const bool may_grow_unseen =
      stacks_->kind().description().charges_reserve_when_deep && layout.window < layout.reserve;
  return may_grow_unseen ? std::bit_floor(layout.window - std::min(layout.window, least_rest))
                         : layout.reserve;
}

LearnedDepths::Settings PoolCore::depths_of(const PoolOptions& options) const noexcept {
  const std::size_t warm = options_.policy.initial_commit;
  return {.warm = warm,
          .most = std::max(most_kept(), warm),
          .huge_from = stacks_->kind().layout.huge_from,
          .learns = options.warm_size == WarmSize::learned && stacks_->kind().description().trims &&
                    !each_use_begins_with_one_page(),
          .retention = made_for_ == MadeFor::calls ? kept_depth_learned_in : options.retention};
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
  const OpenSlot slot = take_for(cache, number);
  ++misses_;
  demand_.rise(stacks_->out());
  peak_ = made_for_ == MadeFor::calls ? std::max(peak_, stacks_->out()) : 0;
  static_cast<void>(names_.tally_of(cache, number));  // so that the next time the cache has it
  name_it(slot, number, names_.name(number));
  static_cast<void>(follow_demand(coarse_now()));
  return slot;
}

/// Takes a stack for a tenancy of that name: from the cache (which may be null), or from the pool,
/// together with some for the cache.
OpenSlot PoolCore::take_for(ThreadCache* cache, std::size_t number) {
  NameHere* const here = cache == nullptr ? nullptr : cache->name(number);
  const bool takes_deep = depths_.is_apart(number) && stacks_->deep() > 0;
  if (here != nullptr && !here->stacks.empty()) {
    return here->stacks.pop();
  }
  if (cache != nullptr && !cache->stacks.empty() && !takes_deep) {
    return cache->stacks.pop();
  }
  Batch taken;
  std::uint32_t count = take_or_make(taken, number);
  const bool goes_apart = takes_deep && here != nullptr;
  while (count > 1) {
    --count;  // from the highest one down: a cache hands out first what it got last
    if (goes_apart && !here->stacks.full()) {
      here->stacks.push(taken[count]);
    } else if (cache != nullptr && made_for_ == MadeFor::program && !takes_deep &&
               !cache->stacks.full()) {
      cache->stacks.push(taken[count]);
    } else {
      stacks_->put(taken[count]);
    }
  }
  return taken[0];  // the lowest one
}

/// Ends a stack in which something is forbidden that cannot be permitted any more.
void PoolCore::end_unusable(OpenSlot slot) noexcept {
  Lock lock(mutex_);
  stacks_->close(slot);
  if (abandoned_) {
    end_if_nobody_is_out(lock);
  }
}

void PoolCore::release_slowly(OpenSlot slot, const Ended& ended) noexcept {
  ThreadCache* cache = nullptr;
  try {
    cache = abandoned_ ? nullptr : make_cache_here();
  } catch (...) {  // then without a cache
  }
  Lock lock(mutex_);
  NameTally& tally = names_.tally_of(cache, ended.number);
  count(tally, ended);
  if (ended.is_measured) {
    note_greatest();
    depths_.learn(ended.number, ended.depth, ended.was_sample, tally, coarse_now());
  }
  if (cache == nullptr) {
    stacks_->put(slot);
  } else {
    use_list(*cache, ended.number, [&](auto& list, bool is_full) {
      if (is_full) {
        put_oldest(list, (list.count() + 1) / 2);
      }
      list.push(slot);
    });
  }
  if (!abandoned_) {
    static_cast<void>(follow_demand(coarse_now()));
  } else {
    end_if_nobody_is_out(lock);
  }
}

std::uint32_t PoolCore::take_or_make(Batch& taken, std::size_t number) {
  std::uint32_t count = stacks_->take(taken, number);
  if (count != 0) {
    return count;
  }
  try {
    return stacks_->make(taken);
  } catch (const std::exception&) {
    drain_caches();  // a stack that another thread keeps for itself is better than none
    count = stacks_->take(taken, number);
    if (count == 0) {
      throw;
    }
    return count;
  }
}

/// Returns true if there is more to do at once.
bool PoolCore::follow_demand(std::chrono::nanoseconds now) noexcept {
  if (depths_.take_fall()) {
    begin_to_flatten();
  }
  if (now.count() < next_look_.load(std::memory_order_relaxed)) {
    return false;
  }
  const auto excess = [&] { return demand_.excess(stacks_->out(), stacks_->idle()); };
  note_greatest();
  if (depths_.follow(now) && depths_.learns()) {
    looked_caches_ = 0;
  }
  const bool has_to_drain = drain_idle_caches_a_piece();
  demand_.fall(now, std::max(stacks_->out(), peak_));
  stacks_->cool(std::min<std::size_t>(pieces_at_a_time(), excess()));
  stacks_->dismantle_a_piece(dismantled_at_a_time);
  const bool has_to_flatten = flatten_a_piece();
  const bool has_more_to_do =
      excess() > 0 || stacks_->has_to_dismantle() || has_to_flatten || has_to_drain;
  next_look_.store(demand_.next_look(has_more_to_do).count(), std::memory_order_relaxed);
  return has_more_to_do;
}

bool PoolCore::trim() noexcept {
  const Lock lock(mutex_);
  drain_caches();
  const bool had_idle = stacks_->idle() > 0;
  stacks_->cool_all();
  demand_.forget(stacks_->out());
  depths_.forget();
  return had_idle;
}

// ---- observers ----------------------------------------------------------------------------------

/// Under the lock.
std::size_t PoolCore::live() const noexcept {
  std::size_t in_caches = 0;
  for (ThreadCache* const cache : caches_) {
    cache->visit_lists([&](const auto& list) { in_caches += list.count(); });
  }
  return stacks_->out() - std::min(stacks_->out(), in_caches);
}

PoolStatistics PoolCore::statistics() const {
  const Lock lock(mutex_);
  PoolStatistics figures;
  for (std::size_t number = 0; number < names_.count(); ++number) {
    figures.high_water += depths_.high_water(number);
  }
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
    all.push_back({.name = names_.name(number), .high_water = depths_.high_water(number)});
  }
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
