// Core dumps of stacks that are one large read-write mapping.
#pragma once

#include "strategies/layout.hpp"

namespace growstack {

/// Moves [begin, base) of a slot from Reserved to Committed, as vm::commit_uncharged() does, in
/// several mappings, so that a core dump leaves out the deep ones if they are not used.
///
/// A core dump contains each mapping that was ever written to, in its full length. For 256 GiB in
/// one mapping the kernel walks every page, which takes seconds, and makes a file of that apparent
/// size. So what lies deeper than Layout::core_depth is a mapping of its own, and each further one
/// reaches 64 times as deep as the one above it.
[[nodiscard]] int commit_in_pieces(const Bounds& bounds, std::uintptr_t begin, vm::Pages pages,
                                   std::size_t core_depth) noexcept;

}  // namespace growstack
