#include "pool/kept_pools.hpp"

#include "arenas/validated_options.hpp"
#include "pool/coarse_clock.hpp"
#include "pool/core.hpp"
#include "pool/kept_here.hpp"

#include <growstack/handler/idle.hpp>
#include <growstack/handler/init_order.hpp>
#include <growstack/handler/ranges.hpp>

#include <pthread.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <string_view>
#include <utility>

namespace growstack {

[[gnu::tls_model("initial-exec")]] constinit thread_local KeptHere* kept_here = nullptr;

namespace {

struct EndCore {
  void operator()(PoolCore* core) const noexcept { core->abandon(); }
};
using OwnedCore = std::unique_ptr<PoolCore, EndCore>;

struct KeptPool {
  OwnedCore core{};  ///< null: the place is free
  KeptOptions options{};
  std::uint32_t users = 0;  ///< threads that use it without being remembered here
  /// A forked child has it from its parent. Its stacks that are out go back to it, and no others
  /// are acquired from it, because the threads that its strategy needs are the parent's.
  bool is_inherited = false;
  std::uint64_t acquired = 0;   ///< stacks so far, when it was looked at last
  std::uint64_t last_used = 0;  ///< the number of the look that found it used

  [[nodiscard]] explicit operator bool() const noexcept { return core != nullptr; }
};

/// All kept pools, and what threads remember of them. Used under its lock, which is never held
/// while memory is given back: a pool that is trimmed has a user meanwhile, and one that ends was
/// taken out. Places do not move.
struct KeptPools {
  std::mutex lock;
  /// Twice as many as are in use, because a forked child may have those of its parent besides.
  std::array<KeptPool, 2 * most_kept_pools> places{};
  KeptHere* threads = nullptr;
  std::uint64_t looks = 0;
  /// By the coarse clock. For processes that may not have the thread that looks after idle stacks.
  std::chrono::nanoseconds next_look{};

  [[nodiscard]] KeptPool* find(const StackOptions& options) noexcept {
    const auto found = std::find_if(places.begin(), places.end(), [&](const KeptPool& pool) {
      return pool && !pool.is_inherited && pool.options.are_those_of(options);
    });
    return found == places.end() ? nullptr : &*found;
  }

  /// Returns a place for one more pool; null if there are as many as there may be.
  [[nodiscard]] KeptPool* free_place() noexcept {
    const auto kept = std::count_if(places.begin(), places.end(), [](const KeptPool& pool) {
      return pool && !pool.is_inherited;
    });
    const auto free =
        std::find_if(places.begin(), places.end(), [](const KeptPool& pool) { return !pool; });
    return static_cast<std::size_t>(kept) < most_kept_pools && free != places.end() ? &*free
                                                                                    : nullptr;
  }

  /// Notes whether the pool was used since the last look. Returns whether it was.
  bool look_at(KeptPool& pool) const noexcept {
    const PoolStatistics figures = pool.core->statistics();
    const std::uint64_t before = std::exchange(pool.acquired, figures.hits + figures.misses);
    if (before != pool.acquired) {
      pool.last_used = looks;
    }
    return before != pool.acquired;
  }

  /// Lets no thread acquire a stack of the pool without the lock.
  void let_threads_forget(const PoolCore& core) noexcept {
    for (KeptHere* here = threads; here != nullptr; here = here->next) {
      if (here->remembers(core)) {
        here->lock.seize();
        here->forget(core);
        here->lock.release();
      }
    }
  }

  /// Takes the pool out if nobody uses it and no stack of it is out.
  [[nodiscard]] OwnedCore take_out_if_idle(KeptPool& pool) noexcept {
    if (pool.users == 0) {
      let_threads_forget(*pool.core);
      if (pool.core->is_idle()) {
        return std::exchange(pool, {}).core;
      }
    }
    return nullptr;
  }

  /// Takes out the idle pool that was used longest ago, if there is one.
  [[nodiscard]] OwnedCore take_out_least_recently_used() noexcept {
    ++looks;
    std::array<KeptPool*, 2 * most_kept_pools> by_use{};
    auto end = by_use.begin();
    for (KeptPool& pool : places) {
      if (pool) {
        look_at(pool);
        *end++ = &pool;
      }
    }
    std::stable_sort(by_use.begin(), end, [](const KeptPool* one, const KeptPool* two) {
      return one->last_used < two->last_used;
    });
    OwnedCore taken;
    for (auto each = by_use.begin(); each != end && taken == nullptr; ++each) {
      taken = take_out_if_idle(**each);
    }
    return taken;
  }
};

/// Made when the program is loaded, because a child that is forked while another thread makes it
/// would find it half made forever. Never destroyed, because calls may be made until the process
/// has ended. Its lock is taken before those of pools, also at a fork.
class TheKeptPools {
 public:
  TheKeptPools() : kept_pools_(*new KeptPools) {
    static_cast<void>(pthread_atfork(before_fork, in_parent, in_child));
  }
  KeptPools& operator*() const noexcept { return kept_pools_; }

 private:
  static void before_fork() noexcept;
  static void in_parent() noexcept;
  static void in_child() noexcept;

  KeptPools& kept_pools_;
};

[[gnu::init_priority(handler::init_dependents)]] const TheKeptPools the_kept_pools;

void TheKeptPools::before_fork() noexcept { (*the_kept_pools).lock.lock(); }
void TheKeptPools::in_parent() noexcept { (*the_kept_pools).lock.unlock(); }

/// Only the thread that called fork(2) exists, and it was not in here.
void TheKeptPools::in_child() noexcept {
  KeptPools& all = *the_kept_pools;
  for (KeptPool& pool : all.places) {
    pool.is_inherited = true;
    pool.users = 0;
  }
  for (KeptHere* next = std::exchange(all.threads, kept_here); next != nullptr;) {
    KeptHere* const here = std::exchange(next, next->next);
    if (here != kept_here) {
      delete here;
    }
  }
  if (kept_here != nullptr) {
    kept_here->forget_all();
    kept_here->next = nullptr;
  }
  all.lock.unlock();
}

/// A use of a pool that keeps the pool from ending. May be of none.
class Use {
 public:
  Use() = default;
  /// Under the lock.
  explicit Use(KeptPool& pool) noexcept : pool_(&pool) { ++pool.users; }
  Use(Use&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)) {}
  Use& operator=(Use&&) = delete;
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  ~Use() {
    if (pool_ != nullptr) {
      const std::lock_guard guard((*the_kept_pools).lock);
      --pool_->users;
    }
  }

  explicit operator bool() const noexcept { return pool_ != nullptr; }
  [[nodiscard]] PoolCore& core() const noexcept { return *pool_->core; }

 private:
  KeptPool* pool_ = nullptr;
};

// ---- giving back --------------------------------------------------------------------------------

enum class GiveBack : std::uint8_t { all_idle, due };

/// Returns whether anything was idle, or is kept still.
bool give_back(GiveBack what) noexcept {
  KeptPools& all = *the_kept_pools;
  std::unique_lock lock(all.lock);
  ++all.looks;
  all.next_look = coarse_now() + kept_for;
  bool found = false;
  for (KeptPool& pool : all.places) {
    if (!pool) {
      continue;
    }
    const bool was_used = all.look_at(pool);
    const bool give_all = what == GiveBack::all_idle || !was_used || pool.is_inherited;
    OwnedCore ended = give_all ? all.take_out_if_idle(pool) : nullptr;
    if (ended != nullptr) {
      found = found || what == GiveBack::all_idle;
      lock.unlock();
      ended.reset();
      lock.lock();
      continue;
    }
    ++pool.users;
    PoolCore& core = *pool.core;
    lock.unlock();
    found = (give_all ? core.trim() : core.give_excess_back()) || found || what == GiveBack::due;
    lock.lock();
    --pool.users;
  }
  return found;
}

// ---- acquiring ----------------------------------------------------------------------------------

bool may_be_kept(const StackOptions& options) noexcept {
  if (commits_one_page()) {
    return false;  // each call is to begin with what a fresh stack has
  }
  const StrategyDescription* const strategy = describe(options.strategy);
  return options.strategy == Strategy::automatic || (strategy != nullptr && strategy->pools());
}

OwnedCore make_core(const StackOptions& options) {
  return OwnedCore(new PoolCore({.reserve = options.reserve,
                                 .guard = options.guard,
                                 .policy = options.policy,
                                 .strategy = options.strategy,
                                 .core_depth = options.core_depth,
                                 .name = options.name,
                                 .retention = kept_for},
                                PoolCore::MadeFor::calls, options.lock_on_fault));
}

/// Returns no use if a new pool is needed, and there is no place for one.
Use find_or_make(const StackOptions& options) {
  KeptPools& all = *the_kept_pools;
  {
    std::unique_lock lock(all.lock);
    if (KeptPool* const found = all.find(options); found != nullptr) {
      return Use(*found);
    }
    if (all.free_place() == nullptr) {
      const OwnedCore ended = all.take_out_least_recently_used();
      lock.unlock();
      if (ended == nullptr) {
        return {};
      }
    }
  }
  OwnedCore made = make_core(options);
  const std::lock_guard guard(all.lock);  // released before what was made in vain ends
  KeptPool* place = all.find(options);    // another thread may have been faster
  if (place == nullptr) {
    place = all.free_place();
    if (place == nullptr) {
      return {};
    }
    *place = {.core = std::move(made), .options = KeptOptions(options), .last_used = all.looks};
  }
  return Use(*place);
}

/// Lets this thread find the pool without the lock from now on. In vain without memory.
void remember(const StackOptions& options, PoolCore& core) noexcept {
  if (cache_table.is_over) {
    return;  // nobody would end it
  }
  KeptPools& all = *the_kept_pools;
  if (kept_here == nullptr) {
    KeptHere* const made = new (std::nothrow) KeptHere;
    if (made == nullptr) {
      return;
    }
    const std::lock_guard guard(all.lock);
    made->next = std::exchange(all.threads, made);
    kept_here = made;
  }
  const std::lock_guard guard(all.lock);
  kept_here->remember(KeptOptions(options), core);
}

/// Gives a stack the name that reports use. A pool numbers only some names, and gives stacks of all
/// others its own.
OpenSlot named(OpenSlot slot, std::string_view name) noexcept {
  if (slot.record().name != name.substr(0, handler::max_name_length)) {
    handler::set_name(slot.record(), name);
  }
  return slot;
}

OpenSlot acquire_slowly(const StackOptions& options) {
  if (!may_be_kept(options)) {
    return {};
  }
  OpenSlot slot;
  {
    const Use use = find_or_make(options);
    if (!use) {
      return {};
    }
    slot = use.core().acquire(options.name);
    remember(options, use.core());
  }
  if (handler::look_after_idle(kept_for) != 0 && coarse_now() >= (*the_kept_pools).next_look) {
    static_cast<void>(give_back(GiveBack::due));
  }
  return slot;
}

/// Returns null if that takes a lock.
OpenSlot acquire_at_once(const StackOptions& options) noexcept {
  KeptHere* const here = kept_here;
  OpenSlot slot;
  if (here != nullptr && here->lock.try_enter()) {
    if (PoolCore* const core = here->find(options); core != nullptr) {
      slot = core->acquire_at_once(options.name);
    }
    here->lock.leave();
  }
  return slot;
}

}  // namespace

OpenSlot acquire_kept(const StackOptions& options) {
  OpenSlot slot = acquire_at_once(options);
  if (!slot) {
    slot = acquire_slowly(options);
  }
  return slot ? named(slot, options.name) : slot;
}

void end_kept_here() noexcept {
  KeptHere* const ended = std::exchange(kept_here, nullptr);
  if (ended == nullptr) {
    return;
  }
  {
    KeptPools& all = *the_kept_pools;
    const std::lock_guard guard(all.lock);
    KeptHere** link = &all.threads;
    while (*link != ended) {
      link = &(*link)->next;
    }
    *link = ended->next;
  }
  delete ended;
}

bool give_kept_pools_back() noexcept { return give_back(GiveBack::all_idle); }

std::chrono::milliseconds give_due_kept_pools_back() noexcept {
  return give_back(GiveBack::due) ? kept_for : std::chrono::milliseconds(0);
}

bool is_shortage(const std::system_error& error, Strategy strategy) noexcept {
  const StrategyDescription* const description = describe(strategy);
  const bool locks = description != nullptr && description->locks_memory;
  return error.code() == std::errc::not_enough_memory ||
         (locks && error.code() == std::errc::resource_unavailable_try_again);
}

}  // namespace growstack
