#include "pool/core.hpp"

#include "errors.hpp"
#include "stacks/opening.hpp"
#include "memory/residency.hpp"
#include "sanitizers.hpp"
#include "memory/vm.hpp"

#include <growstack/attach.hpp>
#include <growstack/handler/init_order.hpp>

#include <pthread.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <ctime>
#include <system_error>
#include <utility>

namespace growstack {

// ---- the table of a thread's caches -------------------------------------------------------------

namespace {

/// By the index of the pool. No constructor and no destructor: it works from a thread's first
/// instruction to its last.
struct CacheTable {
  std::uint64_t last_pool;  ///< the number of the pool last used
  PoolCache* last;          ///< and the cache of it
  PoolCache** caches;
  std::uint32_t size;
  bool is_over;  ///< the thread ends, and has given its caches up
};

/// Not through a function call, as it would be in a shared library otherwise.
[[gnu::tls_model("initial-exec")]] constinit thread_local CacheTable cache_table{};

void give_up_all_caches(void* /*any*/) noexcept {
  CacheTable& table = cache_table;
  table.is_over = true;
  table.last_pool = 0;
  for (std::uint32_t index = 0; index < table.size; ++index) {
    if (PoolCache* const cache = table.caches[index]; cache != nullptr) {
      give_up_cache(index, *cache);
      delete cache;
    }
  }
  delete[] std::exchange(table.caches, nullptr);
  table.size = 0;
}

/// A key of its own, because its destructor runs after those of all thread_local objects, which may
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

/// Room in the table for that index.
void make_room_for(std::uint32_t index) {
  CacheTable& table = cache_table;
  if (index < table.size) {
    return;
  }
  thread_end.watch_this_thread();
  const std::uint32_t size = std::max(index + 1, 2 * table.size);
  auto* const larger = new PoolCache*[size]();
  std::copy_n(table.caches, table.size, larger);
  delete[] std::exchange(table.caches, larger);
  table.size = size;
}

/// Some milliseconds old, and for that fetched without a system call and without asking the
/// hardware.
std::chrono::nanoseconds coarse_now() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

/// Stacks that one acquire or release gives back at most, so that neither takes long.
constexpr std::size_t given_back_at_a_time = 128;
constexpr std::uint32_t dismantled_at_a_time = 1024;

/// Of no pool.
constexpr std::uint64_t no_number = UINT64_MAX;

constexpr std::chrono::nanoseconds never = std::chrono::nanoseconds::max();

/// Few, for each takes two mappings: 2^20 stacks lie in three of them.
constexpr ArenaSizes arena_sizes{.first = 4096,
                                 .first_bytes = std::size_t{64} << 30,
                                 .factor = 15,
                                 .most = std::size_t{1} << 22,
                                 .most_bytes = std::size_t{16} << 40};

}  // namespace

inline PoolCache* PoolCore::cache_here() const noexcept {
  return cache_table.last_pool == identity_.number ? cache_table.last : find_cache_here();
}

PoolCache* PoolCore::find_cache_here() const noexcept {
  CacheTable& table = cache_table;
  PoolCache* const cache = identity_.index < table.size ? table.caches[identity_.index] : nullptr;
  if (cache == nullptr || cache->pool.load(std::memory_order_relaxed) != identity_.number) {
    return nullptr;
  }
  table.last_pool = identity_.number;
  table.last = cache;
  return cache;
}

PoolCache* PoolCore::make_cache_here() {
  if (PoolCache* const cache = cache_here(); cache != nullptr || cache_table.is_over) {
    return cache;
  }
  attach_thread();
  make_room_for(identity_.index);
  auto made = std::make_unique<PoolCache>(options_.name);
  made->pool.store(identity_.number, std::memory_order_relaxed);
  {
    const Lock lock(mutex_);
    caches_.push_back(made.get());
  }
  // What is there belongs to a pool that is no more, as may what was used last.
  cache_table.last_pool = 0;
  delete std::exchange(cache_table.caches[identity_.index], made.release());
  return cache_here();
}

// ---- life ---------------------------------------------------------------------------------------

PoolCore::PoolCore(const PoolOptions& options)
    : options_({.reserve = options.reserve,
                .guard = options.guard,
                .policy = options.policy,
                .strategy = options.strategy,
                .name = options.name}),
      most_stacks_(options.most_stacks),
      retention_(options.retention),
      account_("PoolOptions::budget", &process_account(), options.budget),
      next_look_(options.retention.count() == 0 ? never.count() : 0) {
  if (options.most_stacks == 0) {
    fail(EINVAL, "PoolOptions::most_stacks must be at least 1");
  }
  if (options.retention.count() < 0 || options.retention > std::chrono::hours(24 * 365)) {
    fail(EINVAL, "PoolOptions::retention must be from 0 (never give back) to a year");
  }
  tallies_.push_back(std::make_unique<NameTally>(options.name));
  fallback_reason_ = open_with_best_strategy(validated(options_), [this](
                                                                      const StackOptions& asked) {
    const Implementation& strategy = *implementation(asked.strategy);
    if (!strategy.keeps_reservation() || strategy.from_heap()) {
      fail(EINVAL,
           std::string(name(asked.strategy)) +
               (strategy.from_heap()
                    ? ": its stacks have no guard, and a pool has none without"
                    : ": cannot keep its address space from stack to stack, so it has no pools"));
    }
    strategy.check(asked);
    options_ = asked;
    grows_unseen_ = strategy.growth() == handler::Growth::by_kernel;
    arenas_.emplace(Kind::of(asked), account_, arena_sizes);
    Batch first;
    for (std::uint32_t count = make(first); count > 0; --count) {
      put_idle(first[count - 1]);
    }
  });
  next_halving_ = coarse_now() + retention_;
  target_ = open_;
  try {
    identity_ = register_pool(*this);
  } catch (...) {
    end_idle_stacks();
    throw;
  }
}

PoolCore::~PoolCore() { end_idle_stacks(); }

void PoolCore::abandon() noexcept {
  detach_caches_of(*this);
  Lock lock(mutex_);
  abandoned_ = true;
  identity_.number =
      no_number;  // threads remember the cache that they used last, and its pool by number
  end_if_nobody_is_out(lock);
}

/// Until then only those live on that are out.
void PoolCore::end_if_nobody_is_out(Lock& lock) noexcept {
  if (out() > 0) {
    give_back_all();
    return;
  }
  lock.unlock();
  forget_pool(identity_.index);
  delete this;
}

/// Of stacks that nobody is in, all together: their arenas go.
void PoolCore::end_idle_stacks() noexcept {
  while (!arenas_->arenas().empty()) {
    begin_to_dismantle(*arenas_->arenas().back());
  }
  finish_dismantling();
}

// ---- a warm pair --------------------------------------------------------------------------------

// Some ten nanoseconds for both, most of which is waiting for what was stored just before: nothing
// but two words of the thread's table, the cache and the slot is touched, and no register saved.
// Whatever is not as usual is another function's.

[[gnu::always_inline]] inline Place PoolCore::acquire() {
  const CacheTable& table = cache_table;
  if (table.last_pool == identity_.number) [[likely]] {
    if (const Place place = table.last->take(); place) [[likely]] {
      return place;
    }
  }
  return acquire(options_.name);
}

[[gnu::always_inline]] inline void PoolCore::release(Place place) noexcept {
  sanitizers::forget_stack_contents(place.base() - options_.policy.initial_commit,
                                    options_.policy.initial_commit);
  const CacheTable& table = cache_table;
  if (table.last_pool == identity_.number &&
      place.slot().marks.load(std::memory_order_acquire) == 0) [[likely]] {
    if (table.last->put(place)) [[likely]] {
      return;
    }
  }
  release_with_care(place);
}

// Each way one function.
handler::SlotRecord* StackPool::acquire_slot() { return core_->acquire().record(); }

void Stack::give_back(handler::SlotRecord* slot, const std::string* fallback_reason) noexcept {
  delete fallback_reason;
  const Place place(slot);
  if (PoolCore* const pool = place.arena().pool; pool != nullptr) {
    pool->release(place);
  } else {
    close_slot(place);
  }
}

Place PoolCore::acquire(std::string_view name) {
  PoolCache* const cache = cache_here();
  if (cache == nullptr || !cache->lock.try_enter()) {
    return acquire_slowly(name);
  }
  const std::size_t number = cache->number_of(name);
  if (cache->empty() || number == PoolCache::most_names) {
    cache->lock.leave();
    return acquire_slowly(name);
  }
  const Place place = cache->pop();
  cache->lock.leave();
  name_it(place, number, number == 0 ? options_.name : name);
  return place;
}

/// One that has grown, or has another name than the pool's, or was left by longjmp; or into a cache
/// that is full, or of another pool than the last. And the clock's turn.
void PoolCore::release_with_care(Place place) noexcept {
  std::atomic<std::uint32_t>& marks = place.slot().marks;
  const std::uint32_t marked = marks.load(std::memory_order_relaxed);
  const std::uint32_t number = marked & name_mask;
  std::size_t depth = options_.policy.initial_commit;
  if (marked != number) {
    if ((marked & (handler::grown_mark | grows_unseen_mark)) != 0) {
      depth = trim_grown(place);
    }
    marks.fetch_and(name_mask | grows_unseen_mark, std::memory_order_relaxed);
  }
  PoolCache* const cache = cache_here();
  if (cache == nullptr || !cache->lock.try_enter()) {
    release_slowly(place, depth);
    return;
  }
  NameTally* const tally = cache->tally(number);
  if (tally == nullptr || cache->full()) {
    cache->lock.leave();
    release_slowly(place, depth);
    return;
  }
  cache->push(place);
  tally->count_ended(depth);
  const bool look = cache->is_time_to_look();
  cache->lock.leave();
  if (look) {
    look_at_clock(*cache);
  }
}

/// To the warm size. Tells how deep it was.
std::size_t PoolCore::trim_grown(Place place) noexcept {
  handler::SlotRecord& slot = place.slot();
  const std::uintptr_t base = place.base();
  const std::size_t depth = std::max(base - place.high_water(), vm::page_size());
  sanitizers::forget_stack_contents(base - depth, depth);
  const int error = place.trim(base - options_.policy.initial_commit);
  if (error == 0 && !grows_unseen_) {
    trims_.fetch_add(1, std::memory_order_relaxed);
  }
  slot.high_water.store(slot.limit.load(std::memory_order_relaxed), std::memory_order_relaxed);
  growth_faults_.fetch_add(slot.growth_faults.exchange(0, std::memory_order_relaxed),
                           std::memory_order_relaxed);
  slot.remote_growth_faults.store(0, std::memory_order_relaxed);
  slot.unseen_growth.store(0, std::memory_order_relaxed);
  return depth;
}

void PoolCore::name_it(Place place, std::size_t number, std::string_view name) noexcept {
  std::atomic<std::uint32_t>& marks = place.slot().marks;
  const std::uint32_t now = marks.load(std::memory_order_relaxed);
  if ((now & name_mask) != number) {
    marks.store((now & ~name_mask) | static_cast<std::uint32_t>(number), std::memory_order_relaxed);
    handler::set_name(place.slot(), name);
  }
}

void PoolCore::look_at_clock(PoolCache& cache) noexcept {
  const std::chrono::nanoseconds now = coarse_now();
  bool has_more_to_do = false;
  if (now.count() >= next_look_.load(std::memory_order_relaxed)) {
    const Lock lock(mutex_, std::try_to_lock);
    has_more_to_do = !lock || follow_demand(now);
  }
  cache.until_look = has_more_to_do ? 1 : PoolCache::ended_between_looks;
}

// ---- through the lock ---------------------------------------------------------------------------

Place PoolCore::acquire_slowly(std::string_view name) {
  PoolCache* const cache = make_cache_here();
  const Lock lock(mutex_);
  const std::size_t number = number_of(name);
  Place place;
  if (cache != nullptr && !cache->empty()) {
    place = cache->pop();
  } else {
    Batch taken;
    std::uint32_t count = take_or_make(taken);
    place = taken[0];  // the lowest one; of the others the lowest are taken first
    while (count > 1) {
      --count;
      if (cache != nullptr) {
        cache->push(taken[count]);
      } else {
        put_idle(taken[count]);
      }
    }
  }
  ++misses_;
  target_ = std::max(target_, out());
  static_cast<void>(tally_of(cache, number));
  name_it(place, number, tallies_[number]->name());
  static_cast<void>(follow_demand(coarse_now()));
  return place;
}

void PoolCore::release_slowly(Place place, std::size_t depth) noexcept {
  PoolCache* cache = nullptr;
  try {
    cache = abandoned_ ? nullptr : make_cache_here();
  } catch (...) {  // then without
  }
  Lock lock(mutex_);
  tally_of(cache, place.slot().marks.load(std::memory_order_relaxed) & name_mask)
      .count_ended(depth);
  if (cache == nullptr) {
    put_idle(place);
  } else {
    if (cache->full()) {
      put_oldest_idle(*cache, PoolCache::batch);
    }
    cache->push(place);
  }
  if (!abandoned_) {
    static_cast<void>(follow_demand(coarse_now()));
  } else {
    end_if_nobody_is_out(lock);
  }
}

std::uint32_t PoolCore::take_or_make(Batch& taken) {
  std::uint32_t count = take_idle(taken);
  if (count != 0) {
    return count;
  }
  try {
    return make(taken);
  } catch (const std::exception&) {
    drain_caches();  // what another thread keeps for itself is better than none
    count = take_idle(taken);
    if (count == 0) {
      throw;
    }
    return count;
  }
}

std::uint32_t PoolCore::take_idle(Batch& taken) noexcept {
  std::uint32_t count = 0;
  const auto take = [&](IndexSet Arena::*idle, std::size_t& total) {
    for (const auto& arena : arenas_->arenas()) {
      IndexSet& members = (*arena).*idle;
      while (count < taken.size() && !members.empty()) {
        const std::uint32_t index = members.least();
        members.erase(index);
        --total;
        taken[count++] = arena->place(index);
      }
      if (count == taken.size() || total == 0) {
        return;
      }
    }
  };
  if (warm_ > 0) {
    take(&Arena::warm, warm_);
  } else if (cold_ > 0) {
    take(&Arena::cold, cold_);
  }
  return count;
}

std::uint32_t PoolCore::make(Batch& made) {
  if (open_ >= most_stacks_) {
    fail(EAGAIN, "StackPool \"" + options_.name + "\": PoolOptions::most_stacks is " +
                     std::to_string(most_stacks_) +
                     ", and so many are out: raise it, or give stacks back sooner");
  }
  const Implementation& strategy = *arenas_->kind().implementation;
  const bool needs_arena = !arenas_->has_room();
  if (needs_arena || in_forked_child_) {
    start_handler(strategy);
    in_forked_child_ = false;
  }
  Arena& arena = arenas_->with_room();
  if (needs_arena) {
    start_handler(strategy);  // if it was uninstalled meanwhile; now that there is a range it
                              // cannot be any more
  }
  try {
    const std::uint32_t count = make_in(arena, made);
    open_ += count;
    created_ += count;
    arenas_->note_room(arena);
    return count;
  } catch (...) {
    if (arena.open_count() == 0) {
      static_cast<void>(arenas_->remove(arena));
    }
    throw;
  }
}

/// Several at once only where there are many already: what is made ahead of need is committed.
std::uint32_t PoolCore::make_in(Arena& arena, Batch& made) {
  if (arena.pool == nullptr) {
    arena.warm = IndexSet(arena.slot_count());
    arena.cold = IndexSet(arena.slot_count());
    arena.pool = this;
  }
  constexpr std::size_t one_ahead_of = 4;
  const std::size_t wished = std::min({open_ / one_ahead_of, made.size(), most_stacks_ - open_});
  std::uint32_t count = 0;
  if (wished > 1 && !arena.has_closed()) {
    std::uint32_t first = 0;
    count = arena.open_in_row(static_cast<std::uint32_t>(wished), options_, first);
    for (std::uint32_t index = 0; index < count; ++index) {
      made[index] = arena.place(first + index);
    }
  }
  if (count == 0) {
    made[count++] = arena.open(options_);
  }
  if (grows_unseen_) {
    for (std::uint32_t index = 0; index < count; ++index) {
      made[index].slot().marks.store(grows_unseen_mark, std::memory_order_relaxed);
    }
  }
  return count;
}

void PoolCore::put_idle(Place place) noexcept {
  place.arena().warm.insert(place.index());
  ++warm_;
}

void PoolCore::put_oldest_idle(PoolCache& cache, std::uint32_t how_many) noexcept {
  const std::uint32_t count = cache.count.load(std::memory_order_relaxed);
  for (std::uint32_t index = 0; index < how_many; ++index) {
    put_idle(cache.stacks[index]);
  }
  std::copy(cache.stacks.begin() + how_many, cache.stacks.begin() + count, cache.stacks.begin());
  cache.count.store(count - how_many, std::memory_order_relaxed);
}

// ---- names and their tallies --------------------------------------------------------------------

std::size_t PoolCore::number_of(std::string_view name) {
  if (name.empty()) {
    return 0;
  }
  const auto found = std::find_if(tallies_.begin(), tallies_.end(),
                                  [&](const auto& each) { return each->name() == name; });
  const auto number = static_cast<std::size_t>(found - tallies_.begin());
  if (found != tallies_.end()) {
    return number;
  }
  if (tallies_.size() == PoolCache::most_names) {
    return 0;
  }
  tallies_.push_back(std::make_unique<NameTally>(name));
  return number;
}

/// The thread's own, or where there is no memory for one the pool's.
NameTally& PoolCore::tally_of(PoolCache* cache, std::size_t number) noexcept {
  if (cache == nullptr) {
    return *tallies_[number];
  }
  if (cache->tally(number) == nullptr) {
    try {
      if (cache->tallies.size() <= number) {
        cache->tallies.resize(number + 1);
      }
      cache->tallies[number] = std::make_unique<NameTally>(tallies_[number]->name());
    } catch (...) {
      return *tallies_[number];
    }
  }
  return *cache->tally(number);
}

// ---- caches of other threads --------------------------------------------------------------------

void PoolCore::drain(PoolCache& cache) noexcept {
  put_oldest_idle(cache, cache.count.load(std::memory_order_relaxed));
}

void PoolCore::drain_caches() noexcept {
  for (PoolCache* const cache : caches_) {
    cache->lock.seize();
    drain(*cache);
    cache->lock.release();
  }
}

void PoolCore::merge_tallies(PoolCache& cache) noexcept {
  for (std::size_t number = 0; number < tallies_.size(); ++number) {
    if (const NameTally* const tally = cache.tally(number); tally != nullptr) {
      tallies_[number]->add(*tally);
    }
  }
}

void PoolCore::adopt_cache(PoolCache& cache) noexcept {
  const Lock lock(mutex_);
  drain(cache);
  merge_tallies(cache);
  std::erase(caches_, &cache);
}

void PoolCore::detach_caches() noexcept {
  const Lock lock(mutex_);
  for (PoolCache* const cache : caches_) {
    drain(*cache);
    cache->pool.store(0, std::memory_order_relaxed);
  }
  caches_.clear();
}

/// Threads but this one are gone, and with them their tables: what their caches hold is the pool's.
void PoolCore::after_fork_in_child() noexcept {
  in_forked_child_ = true;
  PoolCache* const mine = cache_here();
  for (PoolCache* const cache : caches_) {
    cache->lock.reset();
    if (cache != mine) {
      drain(*cache);
      merge_tallies(*cache);
      delete cache;
    }
  }
  std::erase_if(caches_, [&](const PoolCache* cache) { return cache != mine; });
  mutex_.unlock();
}

// ---- demand -------------------------------------------------------------------------------------

/// True if there is more to do at once.
bool PoolCore::follow_demand(std::chrono::nanoseconds now) noexcept {
  if (now.count() < next_look_.load(std::memory_order_relaxed)) {
    return false;
  }
  if (now >= next_halving_) {
    const auto intervals = 1 + (now - next_halving_) / retention_;
    target_ = intervals < 64 ? target_ >> static_cast<unsigned>(intervals) : 0;
    next_halving_ = now + retention_;
  }
  target_ = std::max(target_, out());
  give_back(std::min(given_back_at_a_time, excess()));
  dismantle_a_piece(dismantled_at_a_time);
  const bool has_more_to_do = excess() > 0 || !dismantled_.empty();
  next_look_.store(has_more_to_do ? 0 : next_halving_.count(), std::memory_order_relaxed);
  return has_more_to_do;
}

/// Warm stacks in the pool that demand does not justify.
std::size_t PoolCore::excess() const noexcept {
  const std::size_t in_use_or_warm = out() + warm_;
  return in_use_or_warm > target_ ? std::min(warm_, in_use_or_warm - target_) : 0;
}

void PoolCore::give_back(std::size_t most) noexcept {
  const auto& arenas = arenas_->arenas();
  for (std::size_t from_end = 1; most > 0 && from_end <= arenas.size(); ++from_end) {
    Arena& arena = *arenas[arenas.size() - from_end];
    while (most > 0 && !arena.warm.empty()) {
      const std::uint32_t last = arena.warm.greatest();
      const std::uint32_t first = arena.warm.first_in_row(
          last, static_cast<std::uint32_t>(std::min<std::size_t>(most, UINT32_MAX)));
      most -= last - first + 1;
      cool_in_row(arena, first, last);
    }
    const bool is_only_one = arenas.size() == 1;
    if (!is_only_one && arena.open_count() == arena.cold.size()) {
      begin_to_dismantle(arena);
      --from_end;
    }
  }
}

/// To cold stacks, or to none.
void PoolCore::cool_in_row(Arena& arena, std::uint32_t first, std::uint32_t last) noexcept {
  const Implementation& strategy = arena.implementation();
  const bool stay_open =
      strategy.discard_in_row(arena.bounds_of(first).floor, arena.bounds_of(last).base) == 0;
  for (std::uint32_t index = first; index <= last; ++index) {
    arena.warm.erase(index);
    if (stay_open) {
      arena.cold.insert(index);
    } else {
      arena.close(index);
    }
  }
  const std::size_t count = last - first + std::size_t{1};
  warm_ -= count;
  cold_ += stay_open ? count : 0;
  open_ -= stay_open ? 0 : count;
  arenas_->note_room(arena);
}

/// An arena in which nobody is.
void PoolCore::begin_to_dismantle(Arena& arena) noexcept {
  open_ -= arena.open_count();
  cold_ -= arena.cold.size();
  warm_ -= arena.warm.size();
  std::unique_ptr<Arena> removed = arenas_->remove(arena);
  try {
    dismantled_.push_back(std::move(removed));
  } catch (const std::bad_alloc&) {  // then at once
    static_cast<void>(removed->dismantle(UINT32_MAX));
  }
}

void PoolCore::finish_dismantling() noexcept {
  while (!dismantled_.empty()) {
    dismantle_a_piece(UINT32_MAX);
  }
}

void PoolCore::dismantle_a_piece(std::uint32_t most) noexcept {
  if (!dismantled_.empty() && dismantled_.back()->dismantle(most)) {
    dismantled_.pop_back();
  }
}

void PoolCore::trim() noexcept {
  const Lock lock(mutex_);
  drain_caches();
  give_back_all();
  target_ = out();
}

void PoolCore::give_back_all() noexcept {
  give_back(warm_);
  const auto& arenas = arenas_->arenas();
  for (std::size_t index = arenas.size(); index-- > 0;) {
    if (arenas[index]->open_count() == arenas[index]->cold.size()) {
      begin_to_dismantle(*arenas[index]);
    }
  }
  finish_dismantling();
}

// ---- observers ----------------------------------------------------------------------------------

template <class Visit>
void PoolCore::visit_tallies(Visit visit) const {
  for (std::size_t number = 0; number < tallies_.size(); ++number) {
    visit(number, *tallies_[number]);
  }
  for (PoolCache* const cache : caches_) {
    for (std::size_t number = 0; number < tallies_.size(); ++number) {
      if (const NameTally* const tally = cache->tally(number); tally != nullptr) {
        visit(number, *tally);
      }
    }
  }
}

PoolStatistics PoolCore::statistics() const {
  const Lock lock(mutex_);
  PoolStatistics figures;
  std::size_t in_caches = 0;
  for (const PoolCache* const cache : caches_) {
    in_caches += cache->count.load(std::memory_order_relaxed);
  }
  visit_tallies([&](std::size_t, const NameTally& tally) {
    figures.high_water += tally.ended(options_.policy.initial_commit);
  });
  figures.live = out() - std::min(out(), in_caches);
  figures.cached = warm_ + in_caches;
  figures.cold = cold_;
  figures.arenas = arenas_->arenas().size();
  figures.reserved = open_ * arenas_->kind().layout.reserve;
  figures.committed = account_.used();
  figures.created = created_;
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
  for (const auto& tally : tallies_) {
    all.push_back({.name = tally->name(), .high_water = {}});
  }
  visit_tallies([&](std::size_t number, const NameTally& tally) {
    all[number].high_water += tally.ended(options_.policy.initial_commit);
  });
  return all;
}

std::size_t PoolCore::resident() const {
  const Lock lock(mutex_);
  std::size_t bytes = 0;
  for (const auto& arena : arenas_->arenas()) {
    if (arena->used_count() > 0) {
      const std::uintptr_t begin = arena->bounds_of(0).guard;
      bytes += growstack::resident(begin, arena->bounds_of(arena->used_count() - 1).base - begin);
    }
  }
  return bytes;
}

void PoolCore::add_to(ArenaTotals& totals) const noexcept {
  const Lock lock(mutex_);
  for (const auto& arena : arenas_->arenas()) {
    totals.add(*arena);
  }
}

// ---- what is counted ----------------------------------------------------------------------------

HighWaterDistribution NameTally::ended(std::size_t warm) const noexcept {
  HighWaterDistribution found;
  for (std::size_t index = 0; index < ended_.size(); ++index) {
    found.stacks[index] = ended_[index].load(std::memory_order_relaxed);
  }
  const std::uint64_t stayed_warm = ended_warm_.load(std::memory_order_relaxed);
  found.stacks[exponent(warm)] += stayed_warm;
  found.deepest = std::max(deepest_.load(std::memory_order_relaxed), stayed_warm > 0 ? warm : 0);
  return found;
}

void NameTally::add(const NameTally& other) noexcept {
  add(ended_warm_, other.ended_warm_.load(std::memory_order_relaxed));
  for (std::size_t index = 0; index < ended_.size(); ++index) {
    add(ended_[index], other.ended_[index].load(std::memory_order_relaxed));
  }
  deepest_.store(std::max(deepest_.load(std::memory_order_relaxed),
                          other.deepest_.load(std::memory_order_relaxed)),
                 std::memory_order_relaxed);
}

}  // namespace growstack
