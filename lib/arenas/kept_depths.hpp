// How deep the stacks of a pool are kept between two tenancies, as the fault path must know it.
#pragma once

#include "arenas/open_slot.hpp"

#include <array>
#include <atomic>
#include <cstddef>

namespace growstack {

/// In bytes, by the number of a name. The pool writes them under its lock. Any thread reads them,
/// signal handlers included: a stale value only keeps a stack, or grows it, to what was right a
/// moment ago.
struct KeptDepths {
  static constexpr std::size_t names = name_mask + 1;

  std::array<std::atomic<std::size_t>, names> bytes{};

  [[nodiscard]] std::size_t of(std::size_t number) const noexcept {
    return bytes[number].load(std::memory_order_relaxed);
  }
};

}  // namespace growstack
