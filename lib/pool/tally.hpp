// How deep the stacks of one name went, as counts of tenancies. A tenancy lasts from acquire() to
// the end of the Stack.
#pragma once

#include <growstack/stack_pool.hpp>

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>

namespace growstack {

/// One thread counts; any thread reads.
class NameTally {
 public:
  explicit NameTally(std::string_view name) : name_(name) {}

  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  /// Counts a tenancy that stayed within the warm size.
  void count_ended_warm() noexcept { add(ended_warm_, 1); }

  /// Counts a tenancy that had `depth` bytes committed at its deepest moment.
  void count_ended(std::size_t depth) noexcept {
    if (depth > deepest_.load(std::memory_order_relaxed)) {
      deepest_.store(depth, std::memory_order_relaxed);
    }
    add(ended_[exponent(depth)], 1);
  }

  /// Returns the distribution. Tenancies that stayed within the warm size count as `warm` bytes
  /// deep.
  [[nodiscard]] HighWaterDistribution ended(std::size_t warm) const noexcept;

  void add(const NameTally& other) noexcept;

 private:
  using Count = std::atomic<std::uint64_t>;

  /// Only one thread writes a count, so no locked instruction is needed.
  static void add(Count& count, std::uint64_t more) noexcept {
    count.store(count.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
  }
  static std::size_t exponent(std::size_t depth) noexcept {
    return static_cast<std::size_t>(std::bit_width(depth - 1));
  }

  std::string name_;
  Count ended_warm_{0};
  std::array<Count, std::tuple_size_v<decltype(HighWaterDistribution::stacks)>> ended_{};
  std::atomic<std::size_t> deepest_{0};
};

}  // namespace growstack
