#include "strategies/always_committed.hpp"

#include "memory/residency.hpp"
#include "memory/vm.hpp"

namespace growstack {

std::uintptr_t AlwaysCommitted::high_water(const handler::SlotRecord& slot,
                                           const Layout&) const noexcept {
  const std::uintptr_t floor = slot.floor.load(std::memory_order_relaxed);
  return lowest_resident(floor, slot.base.load(std::memory_order_relaxed) - floor);
}

int AlwaysCommitted::trim(handler::SlotRecord& slot, const Layout&,
                          std::uintptr_t keep_from) const noexcept {
  const std::uintptr_t floor = slot.floor.load(std::memory_order_relaxed);
  return vm::discard(floor, keep_from - floor);
}

int AlwaysCommitted::close(const handler::SlotRecord& slot, const Layout& layout) const noexcept {
  const std::uintptr_t floor = slot.floor.load(std::memory_order_relaxed);
  return vm::decommit(floor, slot.base.load(std::memory_order_relaxed) - floor, layout.pages());
}

}  // namespace growstack
