#include "strategies/fault_grown.hpp"

#include "memory/vm.hpp"
#include "strategies/limit_raised.hpp"

namespace growstack {

int FaultGrown::open(const Bounds& bounds, const Layout&,
                     const StackOptions& options) const noexcept {
  const std::uintptr_t limit = first_limit(bounds, options);
  return vm::commit(limit, bounds.base - limit);
}

int FaultGrown::trim(handler::SlotRecord& slot, const Layout& layout,
                     std::uintptr_t keep_from) const noexcept {
  const std::uintptr_t limit = slot.limit.load(std::memory_order_acquire);
  return keep_from <= limit ? 0 : with_limit_raised(slot, keep_from, [&] {
    return vm::decommit(limit, keep_from - limit, layout.pages());
  });
}

int FaultGrown::close(const handler::SlotRecord& slot, const Layout& layout) const noexcept {
  // Down to the floor, whatever the limit says: a growth that raced with a trim may have committed
  // below the limit.
  const std::uintptr_t floor = slot.floor.load(std::memory_order_relaxed);
  return vm::decommit(floor, slot.base.load(std::memory_order_relaxed) - floor, layout.pages());
}

}  // namespace growstack
