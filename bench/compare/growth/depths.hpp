// The depths to which the group growth takes stacks. bench/peers/split_stack uses the same ones.
#pragma once

#include "run/table.hpp"
#include "subjects/subject.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

namespace growstack::compare {

struct Depth {
  const char* label;  ///< of metrics
  std::size_t bytes;
  unsigned fewer;  ///< divides the number of rounds
  /// Whether those that grow in huge pages also grow under GrowthPolicy::throughput().
  bool under_throughput = false;
  /// Whether they are also compared with demand_paging_huge.
  bool beside_huge = false;
};

inline constexpr std::array depths{
    Depth{"16KiB", 16 * kibibyte, 1},
    Depth{"64KiB", 64 * kibibyte, 1},
    Depth{"256KiB", 256 * kibibyte, 1},
    Depth{.label = "1MiB", .bytes = 1 * mebibyte, .fewer = 1, .under_throughput = true},
    Depth{"2MiB", 2 * mebibyte, 1},
    Depth{.label = "16MiB",
          .bytes = 16 * mebibyte,
          .fewer = 4,
          .under_throughput = true,
          .beside_huge = true},
    Depth{.label = "64MiB", .bytes = 64 * mebibyte, .fewer = 6, .beside_huge = true}};

/// What is reserved beyond the depth, so that no stack ends there.
inline constexpr std::size_t beyond = 256 * kibibyte;
inline constexpr std::size_t deepest_reserve = depths.back().bytes + beyond;

constexpr unsigned rounds_at(const Depth& depth, unsigned rounds) {
  return std::max(1U, rounds / depth.fewer);
}

/// Returns how many stacks make one sample. The kernel puts off work and does it every few dozen
/// pages. A single shallow stack meets that work or does not, and a median of such times jumps.
constexpr unsigned stacks_per_sample(std::size_t bytes) {
  constexpr std::size_t most = 16;
  return static_cast<unsigned>(std::clamp<std::size_t>(mebibyte / bytes, 1, most));
}

}  // namespace growstack::compare
