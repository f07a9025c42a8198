// A thread's own idle stacks of a pool, and its part of the pool's statistics.
#pragma once

#include "arenas/open_slot.hpp"
#include "pool/biased_lock.hpp"
#include "pool/idle_list.hpp"
#include "pool/tally.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

namespace growstack {

/// What a thread has of one name.
struct NameHere {
  /// Of a name whose stacks are kept deeper than those of the pool's own name. They are few,
  /// because each one may hold much.
  static constexpr std::size_t capacity = 8;

  NameTally tally;
  IdleList<capacity> stacks{};

  explicit NameHere(std::string_view name) : tally(name) {}
};

/// Its owner is the thread whose table points to it (cache_table.hpp). The pool changes it only
/// while it has seized the lock. Atomic members may be read without the lock.
struct alignas(64) ThreadCache {
  static constexpr std::size_t capacity = 32;
  static constexpr std::size_t batch =
      capacity / 2;  ///< stacks moved from or to the pool at a time
  static constexpr unsigned ended_between_looks =
      16;  ///< tenancies that end between looks at a clock, on average
  static constexpr std::size_t most_names = 256;

  BiasedLock lock;
  unsigned until_look = ended_between_looks;  ///< tenancies that may end before the next look
  std::uint32_t random = 1;                   ///< only the owner uses it
  IdleList<capacity> stacks{};                ///< of all names that have none of their own
  std::atomic<std::uint64_t> pool{0};         ///< the number of the pool; 0: the pool has ended
  NameTally own;                              ///< the tally of the pool's own name, number 0
  /// What the thread has of the other names, by number; null for a name that it has not met. Only
  /// the owner adds to them, under the pool's lock; others read them under that lock.
  std::vector<std::unique_ptr<NameHere>> names{};
  std::uint64_t ended_before_look = 0;  ///< tenancies; used under the pool's lock

  explicit ThreadCache(std::string_view name_of_pool) : own(name_of_pool) {}

  /// Returns null for the pool's own name, and for one that this thread has not met.
  [[nodiscard]] NameHere* name(std::size_t number) const noexcept {
    return number != 0 && number < names.size() ? names[number].get() : nullptr;
  }
  [[nodiscard]] NameTally* tally(std::size_t number) noexcept {
    NameHere* const here = name(number);
    return number == 0 ? &own : here == nullptr ? nullptr : &here->tally;
  }
  [[nodiscard]] const NameTally* tally(std::size_t number) const noexcept {
    const NameHere* const here = name(number);
    return number == 0 ? &own : here == nullptr ? nullptr : &here->tally;
  }

  /// Returns whether quiet tenancies have ended here since the last call. Under the pool's lock.
  [[nodiscard]] bool was_used_since_last_look() noexcept {
    std::uint64_t ended = own.quiet();
    for (const auto& here : names) {
      ended += here == nullptr ? 0 : here->tally.quiet();
    }
    return std::exchange(ended_before_look, ended) != ended;
  }

  /// Returns whether a list of one name may have one stack more. A thread with many deep names
  /// keeps fewer of each.
  [[nodiscard]] bool may_keep(std::uint32_t of_one_name) const noexcept {
    return of_one_name == 0 || (of_one_name + std::size_t{1}) * names.size() <= capacity;
  }

  /// Calls visit(list) for each list of idle stacks.
  template <class Visit>
  void visit_lists(Visit visit) {
    visit(stacks);
    for (const auto& here : names) {
      if (here != nullptr) {
        visit(here->stacks);
      }
    }
  }

  /// Returns the number of a name that this thread has met, otherwise most_names. An empty name is
  /// the pool's own.
  [[nodiscard]] std::size_t number_of(std::string_view name) const noexcept {
    for (std::size_t number = 1; number < names.size(); ++number) {
      if (names[number] != nullptr && names[number]->tally.name() == name) {
        return number;
      }
    }
    return name.empty() || name == own.name() ? 0 : most_names;
  }

  /// Returns the next stack if nobody else uses the cache, there is a stack, and the stack has the
  /// pool's own name. Otherwise returns null, and nothing has changed.
  [[nodiscard]] OpenSlot take() noexcept {
    OpenSlot taken;
    if (lock.try_enter_at_once()) {
      taken = stacks.pop_if([](OpenSlot last) { return last.has_default_name(); });
      lock.leave();
    }
    return taken;
  }

  /// Takes a stack without marks back if nobody else uses the cache, there is room, and it is not
  /// time to look at the clock. Otherwise returns false, and nothing has changed.
  [[nodiscard]] bool put(OpenSlot slot) noexcept {
    if (!lock.try_enter_at_once()) {
      return false;
    }
    const bool fits = stacks.push_if(until_look > 1, slot);
    if (fits) {
      --until_look;
      own.count_quiet();
    }
    lock.leave();
    return fits;
  }

  /// Sets the time of the next look. It varies, because the next tenancy may be a sample: a load
  /// that repeats itself after a number of tenancies must not meet the same one each time.
  void look_again(bool at_once) noexcept {
    constexpr std::uint32_t variants = 16;
    random = random * 1664525U + 1013904223U;
    until_look = at_once ? 1 : ended_between_looks - variants / 2 + (random >> 28U) % variants;
  }
  /// Must be called for each tenancy that ends in another way than by put().
  [[nodiscard]] bool is_time_to_look() noexcept { return until_look <= 1 || --until_look == 0; }
};

}  // namespace growstack
