// A set of small numbers, such as the free or the idle slots of an arena. Finding the least or the
// greatest member, inserting and erasing cost a look at one word for each factor of 64 in the
// capacity.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace growstack {

class IndexSet {
 public:
  /// Makes an empty set for numbers below `capacity`. Throws std::bad_alloc. No other function of
  /// this class allocates.
  explicit IndexSet(std::uint32_t capacity) {
    for (std::uint32_t words = capacity; levels_.empty() || words > 1;) {
      words = (words + bits - 1) / bits;
      levels_.emplace_back(words);
    }
  }

  [[nodiscard]] std::uint32_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }

  [[nodiscard]] bool contains(std::uint32_t index) const noexcept {
    return (levels_.front()[index / bits] >> (index % bits) & 1U) != 0;
  }

  /// `index` must not be a member.
  void insert(std::uint32_t index) noexcept {
    for (Words& words : levels_) {
      words[index / bits] |= bit(index);
      index /= bits;
    }
    ++size_;
  }

  /// `index` must be a member.
  void erase(std::uint32_t index) noexcept {
    --size_;
    for (Words& words : levels_) {
      words[index / bits] &= ~bit(index);
      if (words[index / bits] != 0) {
        return;
      }
      index /= bits;
    }
  }

  /// The set must not be empty.
  [[nodiscard]] std::uint32_t least() const noexcept {
    return member([](std::uint64_t word) { return std::countr_zero(word); });
  }
  /// The set must not be empty.
  [[nodiscard]] std::uint32_t greatest() const noexcept {
    return member(
        [](std::uint64_t word) { return static_cast<int>(bits) - 1 - std::countl_zero(word); });
  }

  /// Returns where the run of consecutive members that ends with the member `last` begins, or where
  /// its last `most` numbers begin if the run is longer.
  [[nodiscard]] std::uint32_t first_in_row(std::uint32_t last, std::uint32_t most) const noexcept {
    std::uint32_t first = last;
    while (first > 0 && last - first + 1 < most && contains(first - 1)) {
      --first;
    }
    return first;
  }

 private:
  using Words = std::vector<std::uint64_t>;
  static constexpr std::uint32_t bits = 64;

  static std::uint64_t bit(std::uint32_t index) noexcept {
    return std::uint64_t{1} << (index % bits);
  }

  template <class BitOf>
  [[nodiscard]] std::uint32_t member(BitOf bit_of) const noexcept {
    std::uint32_t index = 0;
    for (auto words = levels_.rbegin(); words != levels_.rend(); ++words) {
      index = index * bits + static_cast<std::uint32_t>(bit_of((*words)[index]));
    }
    return index;
  }

  /// The first level has a bit for each number. A bit of any other level says that a word of the
  /// level before it is not 0.
  std::vector<Words> levels_;
  std::uint32_t size_ = 0;
};

}  // namespace growstack
