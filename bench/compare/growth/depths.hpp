// What the two halves of the growth group agree on: growth.cpp asks and reports, growth_child.cpp
// measures.
#pragma once

#include "subjects/subject.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>

namespace growstack::compare {

struct Depth {
  const char* label;  // of metrics
  std::size_t bytes;
  unsigned fewer;  // rounds than at the shallow depths, by this factor
  bool under_throughput =
      false;                 // those that grow in huge pages also under GrowthPolicy::throughput()
  bool beside_huge = false;  // and compared with demand_paging_huge, too
};

inline constexpr std::size_t kibibyte = 1024;
inline constexpr std::size_t mebibyte = 1024 * kibibyte;
inline constexpr std::size_t huge_page = 2 * mebibyte;
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

/// Reserved beyond the depth, so that nothing ends there.
inline constexpr std::size_t beyond = 256 * kibibyte;
inline constexpr std::size_t deepest_reserve = 64 * mebibyte + beyond;

inline unsigned rounds_at(const Depth& depth, unsigned rounds) {
  return std::max(1U, rounds / depth.fewer);
}

/// Shallow stacks by the dozen: the kernel puts off work and does it every few dozen pages, which a
/// single shallow stack meets or does not, and a median of such times jumps.
inline unsigned stacks_per_sample(std::size_t bytes) {
  constexpr std::size_t most = 16;
  return static_cast<unsigned>(std::clamp<std::size_t>(mebibyte / bytes, 1, most));
}

/// A smaller stack has no huge pages, whatever the policy says.
inline constexpr std::size_t least_for_huge_pages = 4 * mebibyte;

/// The baseline a second time, as if it were another strategy: how far the two are apart is what
/// the figures are worth.
inline const std::string again_name = std::string(name(baseline)) + "_again";

/// Of one that grows in huge pages, which takes part a second time, under
/// GrowthPolicy::throughput().
inline std::string throughput_name(const std::string& subject) { return subject + ", throughput"; }

/// Growth in huge pages without faults of ours.
inline const std::string huge_name{name(Strategy::demand_paging_huge)};

}  // namespace growstack::compare
