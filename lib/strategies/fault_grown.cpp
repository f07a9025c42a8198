#include "strategies/fault_grown.hpp"

#include "vm.hpp"

namespace growstack {

int FaultGrown::open(const Bounds& bounds, std::size_t initial_commit, std::uintptr_t& limit) const noexcept {
  limit = bounds.base - initial_commit;
  return vm::commit(limit, initial_commit);
}

int FaultGrown::trim(handler::SlotRecord& slot, std::uintptr_t keep_from) const noexcept {
  const std::uintptr_t limit = slot.limit.load(std::memory_order_acquire);
  if (keep_from <= limit) {
    return 0;
  }
  // First the word, then the memory: a thread that faults in between commits again.
  slot.limit.store(keep_from, std::memory_order_release);
  return vm::decommit(limit, keep_from - limit);
}

int FaultGrown::close(const handler::SlotRecord& slot) const noexcept {
  const std::uintptr_t limit = slot.limit.load(std::memory_order_acquire);
  return vm::decommit(limit, slot.base.load(std::memory_order_relaxed) - limit);
}

std::uintptr_t FaultGrown::limit(const handler::SlotRecord& slot) const noexcept {
  return slot.limit.load(std::memory_order_acquire);
}

std::uintptr_t FaultGrown::high_water(const handler::SlotRecord& slot) const noexcept {
  return slot.high_water.load(std::memory_order_acquire);
}

}  // namespace growstack
