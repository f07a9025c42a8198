#include "pool/kept_pools.hpp"

#include "arenas/validated_options.hpp"
#include "memory/coarse_clock.hpp"
#include "pool/kept_register.hpp"

#include <growstack/handler/idle.hpp>
#include <growstack/handler/ranges.hpp>

#include <mutex>
#include <new>
#include <string_view>
#include <utility>

namespace growstack {
namespace {

// ---- giving back --------------------------------------------------------------------------------

enum class GiveBack : std::uint8_t { all_idle, due };

/// Returns whether anything is kept still.
bool give_back(GiveBack what) noexcept {
  KeptPools& all = kept_pools();
  const std::lock_guard giving(all.giving);
  std::unique_lock lock(all.lock);
  ++all.looks;
  all.next_look = coarse_now() + kept_for;
  bool has_given = false;
  bool keeps = false;
  for (KeptPool& pool : all.places) {
    if (!pool) {
      continue;
    }
    const bool was_used = all.look_at(pool);
    const bool give_all = what == GiveBack::all_idle || !was_used || pool.is_inherited;
    OwnedCore ended = give_all ? all.take_out_if_idle(pool) : nullptr;
    if (ended != nullptr) {
      has_given = true;
      lock.unlock();
      ended.reset();
      lock.lock();
      continue;
    }
    ++pool.users;
    PoolCore& core = *pool.core;
    lock.unlock();
    has_given = (give_all ? core.trim() : core.give_excess_back()) || has_given;
    keeps = true;
    lock.lock();
    --pool.users;
  }
  lock.unlock();
  all.note_given(has_given);
  return keeps;
}

// ---- acquiring ----------------------------------------------------------------------------------

bool may_be_kept(const StackOptions& options) noexcept {
  if (each_use_begins_with_one_page()) {
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

/// Makes a place for one more pool, unless there is one. Returns false if all pools are in use.
bool make_place() noexcept {
  KeptPools& all = kept_pools();
  const std::lock_guard giving(all.giving);
  std::unique_lock lock(all.lock);
  if (all.free_place() != nullptr) {
    return true;
  }
  OwnedCore ended = all.take_out_least_recently_used();
  lock.unlock();
  const bool has_place = ended != nullptr;
  ended.reset();
  all.note_given(has_place);
  return has_place;
}

/// Returns no use if a new pool is needed, and there is no place for one.
PoolUse find_or_make(const StackOptions& options) {
  KeptPools& all = kept_pools();
  bool has_place = false;
  {
    const std::lock_guard guard(all.lock);
    if (KeptPool* const found = all.find(options); found != nullptr) {
      return PoolUse(*found);
    }
    has_place = all.free_place() != nullptr;
  }
  if (!has_place && !make_place()) {
    return {};
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
  return PoolUse(*place);
}

/// Lets this thread find the pool without the lock from now on. In vain without memory.
void remember(const StackOptions& options, PoolCore& core) noexcept {
  if (cache_table.is_over) {
    return;  // nobody would end it
  }
  KeptPools& all = kept_pools();
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
    const PoolUse use = find_or_make(options);
    if (!use) {
      return {};
    }
    slot = use.core().acquire(options.name);
    remember(options, use.core());
  }
  if (handler::look_after_idle(kept_for) != 0 && coarse_now() >= kept_pools().next_look) {
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

void give_kept_pools_back() noexcept { static_cast<void>(give_back(GiveBack::all_idle)); }

std::uint64_t times_kept_pools_given_back() noexcept {
  return kept_pools().times_given.load(std::memory_order_acquire);
}

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
