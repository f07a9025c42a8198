// What the two halves of the growth group agree on: growth.cpp asks and reports, growth_child.cpp measures.
#pragma once

#include "subject.hpp"

#include <array>
#include <cstddef>
#include <string>

namespace growstack::compare {

struct Depth {
  const char* label;  // of metrics
  std::size_t bytes;
  unsigned fewer;  // rounds than at the shallow depths, by this factor
};

inline constexpr std::size_t kibibyte = 1024;
inline constexpr std::size_t mebibyte = 1024 * kibibyte;
inline constexpr std::array depths{Depth{"16KiB", 16 * kibibyte, 1},   Depth{"64KiB", 64 * kibibyte, 1},
                                   Depth{"256KiB", 256 * kibibyte, 1}, Depth{"1MiB", 1 * mebibyte, 1},
                                   Depth{"2MiB", 2 * mebibyte, 1},     Depth{"16MiB", 16 * mebibyte, 4},
                                   Depth{"64MiB", 64 * mebibyte, 4}};

/// Reserved beyond the depth, so that nothing ends there.
inline constexpr std::size_t beyond = 256 * kibibyte;
inline constexpr std::size_t deepest_reserve = 64 * mebibyte + beyond;

/// The baseline a second time, as if it were another strategy: how far the two are apart is what the figures are worth.
inline const std::string again_name = std::string(name(baseline)) + "_again";

}  // namespace growstack::compare
