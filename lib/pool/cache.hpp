// A thread's own idle stacks of a pool, and its share of the statistics.
#pragma once

#include "arenas/arena.hpp"
#include "pool/biased_lock.hpp"

#include <growstack/stack_pool.hpp>

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace growstack {

/// What happened to the stacks of one name. Counted by one thread, read by any.
class NameTally {
 public:
  explicit NameTally(std::string_view name) : name_(name) {}

  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  /// A tenancy that stayed warm.
  void count_ended_warm() noexcept { add(ended_warm_, 1); }

  /// The tenancy of a stack that had `depth` bytes committed when it was deepest.
  void count_ended(std::size_t depth) noexcept {
    if (depth > deepest_.load(std::memory_order_relaxed)) {
      deepest_.store(depth, std::memory_order_relaxed);
    }
    add(ended_[exponent(depth)], 1);
  }

  /// With those that stayed warm, which means within `warm` bytes.
  [[nodiscard]] HighWaterDistribution ended(std::size_t warm) const noexcept;

  void add(const NameTally& other) noexcept;

  static std::size_t exponent(std::size_t depth) noexcept {
    return static_cast<std::size_t>(std::bit_width(depth - 1));
  }

 private:
  using Count = std::atomic<std::uint64_t>;
  /// There is one writer: no need for an instruction that locks the bus.
  static void add(Count& count, std::uint64_t more) noexcept {
    count.store(count.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
  }

  std::string name_;
  Count ended_warm_{0};  ///< never beyond the warm size
  std::array<Count, std::tuple_size_v<decltype(HighWaterDistribution::stacks)>> ended_{};
  std::atomic<std::size_t> deepest_{0};
};

/// Owned by the thread whose table points to it; the pool reaches into it while it has seized the
/// lock. What is atomic may be read without it.
struct alignas(64) PoolCache {
  static constexpr std::size_t capacity = 32;
  static constexpr std::size_t batch = capacity / 2;   ///< moved from or to the pool at a time
  static constexpr unsigned ended_between_looks = 16;  ///< at the clock
  static constexpr std::size_t most_names = 256;

  BiasedLock lock;
  unsigned until_look = ended_between_looks;  ///< tenancies
  std::atomic<std::uint32_t> count{0};
  std::array<Place, capacity> stacks{};
  std::atomic<std::uint64_t> pool{0};  ///< identity of the pool; 0: it is gone
  NameTally own;                       ///< of the pool's name, whose number is 0
  /// Of the other names by number; null for those that this thread has not met. The owner adds to
  /// it under the pool's lock, others read it under that.
  std::vector<std::unique_ptr<NameTally>> tallies{};

  explicit PoolCache(std::string_view name) : own(name) {}

  [[nodiscard]] NameTally* tally(std::size_t number) noexcept {
    return number == 0 ? &own : number < tallies.size() ? tallies[number].get() : nullptr;
  }
  /// most_names if there is none. One that is empty is the pool's own.
  [[nodiscard]] std::size_t number_of(std::string_view name) const noexcept {
    for (std::size_t number = 1; number < tallies.size(); ++number) {
      if (tallies[number] != nullptr && tallies[number]->name() == name) {
        return number;
      }
    }
    return name.empty() || name == own.name() ? 0 : most_names;
  }

  [[nodiscard]] Place pop() noexcept {
    const std::uint32_t left = count.load(std::memory_order_relaxed) - 1;
    count.store(left, std::memory_order_relaxed);
    return stacks[left];
  }
  void push(Place place) noexcept {
    const std::uint32_t index = count.load(std::memory_order_relaxed);
    stacks[index] = place;
    count.store(index + 1, std::memory_order_relaxed);
  }
  /// The next stack, if all is as usual: nobody else is here, there is one, and it has the pool's
  /// name.
  [[nodiscard]] Place take() noexcept {
    Place taken;
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

  /// One without marks, if all is as usual: nobody else is here, there is room, and it is not time
  /// to look.
  [[nodiscard]] bool put(Place place) noexcept {
    if (!lock.try_enter_at_once()) {
      return false;
    }
    const std::uint32_t used = count.load(std::memory_order_relaxed);
    const bool fits = used != capacity && until_look > 1;
    if (fits) {
      stacks[used] = place;
      count.store(used + 1, std::memory_order_relaxed);
      --until_look;
      own.count_ended_warm();
    }
    lock.leave();
    return fits;
  }

  /// For each tenancy that ends in another way than by put().
  [[nodiscard]] bool is_time_to_look() noexcept { return until_look <= 1 || --until_look == 0; }

  [[nodiscard]] bool empty() const noexcept { return count.load(std::memory_order_relaxed) == 0; }
  [[nodiscard]] bool full() const noexcept {
    return count.load(std::memory_order_relaxed) == capacity;
  }
};

}  // namespace growstack
