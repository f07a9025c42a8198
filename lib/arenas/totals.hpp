// How many stacks there are, and how large they are together.
#pragma once

#include "arenas/arena.hpp"

#include <cstddef>

namespace growstack {

/// Live stacks and their bytes, over all arenas that were added.
struct ArenaTotals {
  std::size_t stacks = 0;
  std::size_t arenas = 0;
  std::size_t reserved = 0;
  std::size_t committed = 0;

  /// Any thread, while nobody opens or closes a slot of the arena; not from a signal handler.
  void add(Arena& arena) noexcept;
};

}  // namespace growstack
