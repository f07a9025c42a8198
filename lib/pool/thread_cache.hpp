// A thread's own idle stacks of a pool, and its part of the pool's statistics.
#pragma once

#include "arenas/open_slot.hpp"
#include "pool/biased_lock.hpp"
#include "pool/tally.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace growstack {

/// Its owner is the thread whose table points to it (cache_table.hpp). The pool changes it only
/// while it has seized the lock. Atomic members may be read without the lock.
struct alignas(64) ThreadCache {
  static constexpr std::size_t capacity = 32;
  static constexpr std::size_t batch =
      capacity / 2;  ///< stacks moved from or to the pool at a time
  static constexpr unsigned ended_between_looks =
      16;  ///< tenancies that end between looks at a clock
  static constexpr std::size_t most_names = 256;

  BiasedLock lock;
  unsigned until_look = ended_between_looks;  ///< tenancies that may end before the next look
  std::atomic<std::uint32_t> count{0};
  std::array<OpenSlot, capacity> stacks{};
  std::atomic<std::uint64_t> pool{0};  ///< the number of the pool; 0: the pool has ended
  NameTally own;                       ///< the tally of the pool's own name, number 0
  /// The tallies of the other names, by number; null for a name that this thread has not met. Only
  /// the owner adds to them, under the pool's lock; others read them under that lock.
  std::vector<std::unique_ptr<NameTally>> tallies{};

  explicit ThreadCache(std::string_view name_of_pool) : own(name_of_pool) {}

  [[nodiscard]] NameTally* tally(std::size_t number) noexcept {
    return number == 0 ? &own : number < tallies.size() ? tallies[number].get() : nullptr;
  }
  [[nodiscard]] const NameTally* tally(std::size_t number) const noexcept {
    return number == 0 ? &own : number < tallies.size() ? tallies[number].get() : nullptr;
  }

  /// Returns the number of a name that this thread has met, otherwise most_names. An empty name is
  /// the pool's own.
  [[nodiscard]] std::size_t number_of(std::string_view name) const noexcept {
    for (std::size_t number = 1; number < tallies.size(); ++number) {
      if (tallies[number] != nullptr && tallies[number]->name() == name) {
        return number;
      }
    }
    return name.empty() || name == own.name() ? 0 : most_names;
  }

  [[nodiscard]] OpenSlot pop() noexcept {
    const std::uint32_t left = count.load(std::memory_order_relaxed) - 1;
    count.store(left, std::memory_order_relaxed);
    return stacks[left];
  }
  void push(OpenSlot slot) noexcept {
    const std::uint32_t index = count.load(std::memory_order_relaxed);
    stacks[index] = slot;
    count.store(index + 1, std::memory_order_relaxed);
  }

  /// Returns the next stack if nobody else uses the cache, there is a stack, and the stack has the
  /// pool's own name. Otherwise returns null, and nothing has changed.
  [[nodiscard]] OpenSlot take() noexcept {
    OpenSlot taken;
    if (lock.try_enter_at_once()) {
      if (const std::uint32_t available = count.load(std::memory_order_relaxed);
          available != 0 && stacks[available - 1].has_default_name()) {
        taken = stacks[available - 1];
        count.store(available - 1, std::memory_order_relaxed);
      }
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
    const std::uint32_t used = count.load(std::memory_order_relaxed);
    const bool fits = used != capacity && until_look > 1;
    if (fits) {
      stacks[used] = slot;
      count.store(used + 1, std::memory_order_relaxed);
      --until_look;
      own.count_ended_warm();
    }
    lock.leave();
    return fits;
  }

  /// Must be called for each tenancy that ends in another way than by put().
  [[nodiscard]] bool is_time_to_look() noexcept { return until_look <= 1 || --until_look == 0; }

  [[nodiscard]] bool empty() const noexcept { return count.load(std::memory_order_relaxed) == 0; }
  [[nodiscard]] bool full() const noexcept {
    return count.load(std::memory_order_relaxed) == capacity;
  }
};

}  // namespace growstack
