// How many stacks of a pool may stay warm: plain arithmetic on values and a time. Nothing here
// reads a clock, takes a lock or gives memory back.
//
// The target is the number of stacks that may be in use or warm. It rises at once with the number
// in use, and each interval of retention halves it, but never below the number in use. A stack is
// in use from when it leaves the pool until it is back; so those in the caches of threads count
// too.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace growstack {

class Demand {
 public:
  using Time = std::chrono::nanoseconds;
  static constexpr Time never = Time::max();

  /// `retention` is the interval; 0: idle stacks stay warm until somebody trims the pool.
  explicit constexpr Demand(Time retention) noexcept : retention_(retention) {}

  /// Begins with `in_use` stacks, and a whole interval before the first halving.
  constexpr void begin(Time now, std::size_t in_use) noexcept {
    target_ = in_use;
    next_halving_ = now + retention_;
  }

  /// Lets the target rise to the number in use.
  constexpr void rise(std::size_t in_use) noexcept { target_ = std::max(target_, in_use); }

  /// Halves the target once for each interval that has ended. The next interval begins now.
  constexpr void fall(Time now, std::size_t in_use) noexcept {
    if (retention_ != Time::zero() && now >= next_halving_) {
      const auto intervals = 1 + (now - next_halving_) / retention_;
      target_ = intervals < bits ? target_ >> static_cast<unsigned>(intervals) : 0;
      next_halving_ = now + retention_;
    }
    rise(in_use);
  }

  /// Forgets all demand but the stacks in use: the rest was given back.
  constexpr void forget(std::size_t in_use) noexcept { target_ = in_use; }

  /// Returns how many of the `warm` idle stacks exceed the target.
  [[nodiscard]] constexpr std::size_t excess(std::size_t in_use, std::size_t warm) const noexcept {
    return in_use + warm > target_ ? std::min(warm, in_use + warm - target_) : 0;
  }

  /// Returns when to look again: at once if the last look left something to do, otherwise when the
  /// interval ends; `never` with a retention of 0.
  [[nodiscard]] constexpr Time next_look(bool has_more_to_do) const noexcept {
    return retention_ == Time::zero() ? never : has_more_to_do ? Time::zero() : next_halving_;
  }

  [[nodiscard]] constexpr std::size_t target() const noexcept { return target_; }

 private:
  static constexpr int bits = 64;  // of target_

  Time retention_;
  Time next_halving_{};
  std::size_t target_ = 0;
};

}  // namespace growstack
