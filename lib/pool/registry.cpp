#include "pool/registry.hpp"

#include <growstack/handler/init_order.hpp>

#include "arenas/arena_set.hpp"
#include "pool/core.hpp"

#include <pthread.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <vector>

namespace growstack {
namespace {

/// An arena of single stacks is as large as all before it of its kind together: one stack takes the
/// least that can be had, and many take few mappings. One without a live slot is released at once.
struct Registry {
  std::mutex lock;
  std::map<Kind, ArenaSet> kinds;
  std::vector<PoolCore*> pools;  ///< by index; null where one has gone
  std::uint64_t pools_so_far = 0;

  template <class Visit>
  void visit_pools(Visit visit) const {
    for (PoolCore* const pool : pools) {
      if (pool != nullptr) {
        visit(*pool);
      }
    }
  }
};

/// Made when the program is loaded, because a child forked while another thread makes it would find
/// it half made for ever. Never destroyed: stacks with static storage may outlive it.
class TheRegistry {
 public:
  TheRegistry() : registry_(*new Registry) {
    // A child must not inherit a lock from a thread that it does not have.
    static_cast<void>(pthread_atfork(before_fork, in_parent, in_child));
  }
  Registry& operator*() const noexcept { return registry_; }

 private:
  static void before_fork() noexcept;
  static void in_parent() noexcept;
  static void in_child() noexcept;

  Registry& registry_;
};

[[gnu::init_priority(handler::init_registers)]] const TheRegistry the_registry;

void TheRegistry::before_fork() noexcept {
  Registry& all = *the_registry;
  all.lock.lock();
  all.visit_pools([](PoolCore& pool) { pool.before_fork(); });
}

void TheRegistry::in_parent() noexcept {
  Registry& all = *the_registry;
  all.visit_pools([](PoolCore& pool) { pool.after_fork_in_parent(); });
  all.lock.unlock();
}

void TheRegistry::in_child() noexcept {
  Registry& all = *the_registry;
  all.visit_pools([](PoolCore& pool) { pool.after_fork_in_child(); });
  all.lock.unlock();
}

ArenaSet& arenas_of(Registry& all, const Kind& kind) {
  return all.kinds.try_emplace(kind, kind, process_account(), ArenaSizes{}).first->second;
}

void remove_if_empty(Registry& all, ArenaSet& arenas, Arena& arena) noexcept {
  if (arena.open_count() == 0) {
    const Kind kind = arena.kind();
    arenas.remove(arena);
    if (arenas.arenas().empty()) {
      all.kinds.erase(kind);
    }
  }
}

}  // namespace

Place open_slot(const StackOptions& options) {
  Registry& all = *the_registry;
  const std::lock_guard guard(all.lock);
  const Kind kind = Kind::of(options);
  ArenaSet& arenas = arenas_of(all, kind);
  Arena* arena = nullptr;
  try {
    arena = &arenas.with_room();
    const Place place = arena->open(options);
    arenas.note_room(*arena);
    return place;
  } catch (...) {
    if (arena != nullptr) {
      remove_if_empty(all, arenas, *arena);
    } else if (arenas.arenas().empty()) {
      all.kinds.erase(kind);
    }
    throw;
  }
}

void close_slot(Place place) noexcept {
  Registry& all = *the_registry;
  const std::lock_guard guard(all.lock);
  Arena& arena = place.arena();
  ArenaSet& arenas = all.kinds.find(arena.kind())->second;
  arena.close(place.index());
  arenas.note_room(arena);
  remove_if_empty(all, arenas, arena);
}

PoolIdentity register_pool(PoolCore& pool) {
  Registry& all = *the_registry;
  const std::lock_guard guard(all.lock);
  auto free = std::find(all.pools.begin(), all.pools.end(), nullptr);
  if (free == all.pools.end()) {
    free = all.pools.insert(free, nullptr);
  }
  *free = &pool;
  return {.index = static_cast<std::uint32_t>(free - all.pools.begin()),
          .number = ++all.pools_so_far};
}

void detach_caches_of(PoolCore& pool) noexcept {
  const std::lock_guard guard((*the_registry).lock);
  pool.detach_caches();
}

void forget_pool(std::uint32_t index) noexcept {
  Registry& all = *the_registry;
  const std::lock_guard guard(all.lock);
  all.pools[index] = nullptr;
}

void give_up_cache(std::uint32_t index, PoolCache& cache) noexcept {
  Registry& all = *the_registry;
  const std::lock_guard guard(all.lock);
  if (cache.pool.load(std::memory_order_relaxed) != 0) {
    all.pools[index]->adopt_cache(cache);
  }
}

void ArenaTotals::add(Arena& arena) noexcept {
  ++arenas;
  const handler::Range& range = arena.range();
  for (std::uint32_t index = 0; index < arena.used_count(); ++index) {
    const handler::SlotRecord& slot = range.slots[index];
    if (slot.generation.load(std::memory_order_acquire) % 2 == 1) {
      const std::uintptr_t base = slot.base.load(std::memory_order_relaxed);
      ++stacks;
      reserved += base - slot.floor.load(std::memory_order_relaxed);
      committed += base - arena.implementation().limit(slot, arena.layout());
    }
  }
}

ArenaTotals arena_totals() {
  Registry& all = *the_registry;
  const std::lock_guard guard(all.lock);
  ArenaTotals totals;
  for (const auto& [kind, arenas] : all.kinds) {
    for (const auto& arena : arenas.arenas()) {
      totals.add(*arena);
    }
  }
  all.visit_pools([&](const PoolCore& pool) { pool.add_to(totals); });
  return totals;
}

}  // namespace growstack
