#include "arenas/totals.hpp"

namespace growstack {

void ArenaTotals::add(Arena& arena) noexcept {
  ++arenas;
  const handler::Range& range = arena.range();
  for (std::uint32_t index = 0; index < arena.used_count(); ++index) {
    const handler::SlotRecord& slot = range.slots[index];
    const bool is_live = slot.generation.load(std::memory_order_acquire) % 2 == 1;
    if (is_live) {
      const std::uintptr_t base = slot.base.load(std::memory_order_relaxed);
      ++stacks;
      reserved += base - slot.floor.load(std::memory_order_relaxed);
      committed += base - arena.implementation().limit(slot, arena.layout());
    }
  }
}

}  // namespace growstack
