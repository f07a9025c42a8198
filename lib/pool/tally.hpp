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
#include <utility>

namespace growstack {

/// Returns the exponent of the power of two within which a depth lies, in bytes.
[[nodiscard]] inline std::size_t exponent_of(std::size_t depth) noexcept {
  return static_cast<std::size_t>(std::bit_width(depth - 1));
}

/// One thread counts; any thread reads.
class NameTally {
 public:
  explicit NameTally(std::string_view name) : name_(name) {}

  [[nodiscard]] const std::string& name() const noexcept { return name_; }

  /// Counts a tenancy that stayed within the depth to which its stack is kept. No more is known of
  /// it.
  void count_quiet() noexcept { add(quiet_, 1); }

  /// Counts a tenancy of which it is known that it had `depth` bytes committed at its deepest
  /// moment.
  void count_measured(std::size_t depth) noexcept {
    note_deepest(depth);
    add(measured_[exponent_of(depth)], 1);
  }

  /// Notes that a tenancy, which is counted as quiet, had so many bytes committed.
  void note_deepest(std::size_t depth) noexcept {
    if (depth > deepest_.load(std::memory_order_relaxed)) {
      deepest_.store(depth, std::memory_order_relaxed);
    }
  }

  [[nodiscard]] std::uint64_t quiet() const noexcept {
    return quiet_.load(std::memory_order_relaxed);
  }
  /// Returns the tenancies whose depth is known, and the deepest of all.
  [[nodiscard]] HighWaterDistribution measured() const noexcept;

  /// Returns the quiet tenancies since the last call. Under the pool's lock.
  [[nodiscard]] std::uint64_t take_news() noexcept {
    const std::uint64_t seen = std::exchange(seen_, quiet());
    return seen_ - seen;
  }

  void add(const NameTally& other) noexcept;

 private:
  using Count = std::atomic<std::uint64_t>;

  /// Only one thread writes a count, so no locked instruction is needed.
  static void add(Count& count, std::uint64_t more) noexcept {
    count.store(count.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
  }

  std::string name_;
  Count quiet_{0};
  std::uint64_t seen_ = 0;  ///< of quiet_
  std::array<Count, std::tuple_size_v<decltype(HighWaterDistribution::stacks)>> measured_{};
  std::atomic<std::size_t> deepest_{0};
};

}  // namespace growstack
