// The low end of a thread's stack, where the program may forbid pages.
//
// Runtimes put guard zones there: HotSpot makes them PROT_NONE, and turns a touch into a
// StackOverflowError. Memory of ours that may not be touched yet is PROT_NONE as well, so the
// kernel could not tell whose pages these are, and growth would make them writable again. So this
// part of a thread's stack is readable from the start. That costs neither memory nor charge, only
// two mappings. A page that cannot be read is then one that the program forbade.
#pragma once

#include <growstack/handler/pages.hpp>
#include <growstack/handler/slot.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace growstack {

/// The bit of SlotRecord::marks that says that the stack is a thread's, and its low end may be
/// read. When the thread's stack is given back, what the program forbade there is permitted again.
inline constexpr std::uint32_t low_end_mark = 1U << 11U;

/// Returns where the low end of a stack ends.
[[nodiscard]] inline std::uintptr_t low_end_of(const handler::SlotRecord& slot) noexcept {
  constexpr std::size_t most = std::size_t{1} << 20;
  constexpr std::size_t part_of_reserve = 4;
  const std::uintptr_t floor = slot.floor.load(std::memory_order_relaxed);
  const std::size_t reserve = slot.base.load(std::memory_order_relaxed) - floor;
  return floor + handler::page_down(std::min(most, reserve / part_of_reserve));
}

}  // namespace growstack
