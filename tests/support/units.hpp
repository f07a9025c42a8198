// Units of memory, in bytes.
#pragma once

#include <cstddef>

namespace growstack::testing {

inline constexpr std::size_t KiB = 1024;
inline constexpr std::size_t MiB = 1024 * KiB;
inline constexpr std::size_t GiB = 1024 * MiB;
inline constexpr std::size_t TiB = 1024 * GiB;

}  // namespace growstack::testing
