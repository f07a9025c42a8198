// Which stack an address lies in.
#include <growstack/stack.hpp>

#include <growstack/handler/ranges.hpp>

#include <cstdint>

namespace growstack {

std::optional<StackBounds> stack_bounds(const void* address) noexcept {
  const handler::PinnedSlot pinned(reinterpret_cast<std::uintptr_t>(address));
  if (!pinned) {
    return std::nullopt;
  }
  const handler::SlotRecord& slot = pinned.slot();
  const auto pointer = [](std::uintptr_t at) { return reinterpret_cast<void*>(at); };
  return StackBounds{.base = pointer(slot.base.load(std::memory_order_relaxed)),
                     .limit = pointer(slot.limit.load(std::memory_order_acquire)),
                     .floor = pointer(slot.floor.load(std::memory_order_relaxed)),
                     .guard = pointer(slot.guard.load(std::memory_order_relaxed))};
}

std::optional<StackBounds> current_stack_bounds() noexcept {
  return stack_bounds(__builtin_frame_address(0));
}

}  // namespace growstack
