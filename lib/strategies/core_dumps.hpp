// Core dumps of stacks that are one large read-write mapping.
#pragma once

#include "strategies/layout.hpp"

namespace growstack {

/// The largest reserve in bytes that stays one mapping.
inline constexpr std::size_t largest_in_one_piece = std::size_t{256} << 20;

/// Splits a large stack into several mappings, so that a core dump leaves the deep, unused ones
/// out.
///
/// A core dump contains each mapping that was ever written to, in its full length. For 256 GiB in
/// one mapping the kernel walks every page, which takes seconds, and makes a file of that apparent
/// size. So each mapping reaches 16 times as deep as the one above it. Must be called before the
/// stack has any page or marker: otherwise every piece counts as written to.
void split_for_core_dumps(const Bounds& bounds) noexcept;

}  // namespace growstack
