// The usual depth of the stacks of one name: plain arithmetic on counts. Nothing here reads a
// clock, takes a lock or gives memory back.
//
// The usual depth is the power of two within which seven of eight tenancies stay. A stack that is
// kept so deep raises no event, so there are two ways to learn:
//
//     rising     Whoever goes deeper than stacks are kept is noticed. Each one scores seven points,
//                and each tenancy that stays takes one away again: at one deep tenancy in eight the
//                score stands still. So eight in a row let the depth rise at once, and one in a
//                hundred never does.
//     falling    Now and then a tenancy begins on a stack that was trimmed on purpose, a sample.
//                Samples of this interval and of the last one tell the depth. An interval that ends
//                with too few of them halves it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>

namespace growstack {

/// Depths are exponents here: 13 means "within 2^13 bytes".
class UsualDepth {
 public:
  static constexpr std::size_t powers = 48;
  using Counts = std::array<std::uint64_t, powers>;

  static constexpr std::uint64_t stay = 7;  ///< tenancies that shall stay within the usual depth,
  static constexpr std::uint64_t of = 8;    ///< of so many
  /// As few samples as this tell a depth.
  static constexpr std::uint64_t least_samples = 8;

  /// The depth begins at the least that it may be.
  explicit constexpr UsualDepth(std::size_t least) noexcept : least_(least), usual_(least) {}

  [[nodiscard]] constexpr std::size_t usual() const noexcept { return usual_; }

  /// Counts tenancies that stayed within the depth to which the stacks are kept.
  constexpr void count_stayed(std::uint64_t tenancies) noexcept {
    any_in_this_ = any_in_this_ || tenancies > 0;
    if (tenancies >= score_) {
      score_ = 0;
      run_ = 0;
      beyond_ = {};
    } else {
      score_ -= tenancies;
      run_ += tenancies;
    }
  }

  /// Counts a tenancy that went beyond it.
  constexpr void count_beyond(std::size_t depth) noexcept {
    any_in_this_ = true;
    score_ += stay;
    ++run_;
    ++beyond_[depth];
  }

  /// Counts a tenancy whose depth is known, wherever it ended: it began at the least depth.
  constexpr void count_sample(std::size_t depth) noexcept { ++this_[depth]; }

  /// Returns whether the tenancies that went beyond are more than one in eight, and not by chance.
  [[nodiscard]] constexpr bool wants_to_rise() const noexcept { return score_ >= stay * of; }

  /// Rises to the depth within which seven of eight of the latest tenancies stayed. What was known
  /// before is no longer true.
  constexpr void rise() noexcept {
    usual_ = std::max(usual_, within(beyond_, run_));
    this_ = last_ = {};
    count_stayed(score_);
  }

  /// Follows the samples, if there are enough.
  constexpr void follow_samples() noexcept {
    const Counts all = samples();
    if (const std::uint64_t count = sum(all); count >= least_samples) {
      usual_ = std::max(least_, within(all, count));
    }
  }

  /// Ends an interval.
  constexpr void end_interval() noexcept {
    if (!any_in_this_ && !any_in_last_) {
      usual_ = least_;  // within which all stayed
    } else if (sum(samples()) < least_samples) {
      usual_ = std::max(least_, usual_ - 1);
    }
    last_ = this_;
    this_ = {};
    any_in_last_ = any_in_this_;
    any_in_this_ = false;
  }

  /// Forgets all that was learned.
  constexpr void forget() noexcept { *this = UsualDepth(least_); }

  /// Returns the samples of this interval and of the last one, by depth.
  [[nodiscard]] constexpr Counts samples() const noexcept {
    Counts all = last_;
    for (std::size_t depth = 0; depth < powers; ++depth) {
      all[depth] += this_[depth];
    }
    return all;
  }

  [[nodiscard]] constexpr bool knows_enough() const noexcept {
    return sum(samples()) >= least_samples;
  }

 private:
  [[nodiscard]] static constexpr std::uint64_t sum(const Counts& counts) noexcept {
    return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
  }

  /// Returns the least depth beyond which at most one of eight of `all` tenancies went.
  [[nodiscard]] static constexpr std::size_t within(const Counts& depths,
                                                    std::uint64_t all) noexcept {
    std::uint64_t beyond = 0;
    std::size_t depth = powers - 1;
    while (depth > 0 && (beyond + depths[depth]) * of <= all * (of - stay)) {
      beyond += depths[depth];
      --depth;
    }
    return depth;
  }

  std::size_t least_;
  std::size_t usual_;
  // The latest tenancies, since the score was 0:
  std::uint64_t score_ = 0;
  std::uint64_t run_ = 0;  ///< how many
  Counts beyond_{};
  // Of this interval and of the last one:
  Counts this_{};
  Counts last_{};
  bool any_in_this_ = false;  ///< whether there were tenancies
  bool any_in_last_ = false;
};

/// Divides `count` into parts that are in proportion to `weights`: whole numbers whose sum is
/// `count`. The largest remainders are rounded up. The weights must not all be 0, and their sum is
/// less than 2^32.
[[nodiscard]] UsualDepth::Counts apportion(std::uint64_t count,
                                           const UsualDepth::Counts& weights) noexcept;

}  // namespace growstack
