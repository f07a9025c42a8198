// Which stack an address lies in.
//
// A signal handler may call these functions, and may be left by siglongjmp(3). So they pin no slot:
// a pin that such a jump left behind would make the end of the stack wait for ever. The stack of
// another thread may therefore end while its record is read. The generation of the record tells, as
// in a sequence lock. It cannot protect the arena, so only the record is read.
#include <growstack/stack.hpp>

#include "arenas/arena.hpp"

#include <growstack/handler/ranges.hpp>

#include <algorithm>
#include <cstdint>

namespace growstack {
namespace {

/// Returns what Stack::limit() returns, from the record alone. The arena charges a stack for what
/// counts as committed, which for guard_markers may be more than the faults told. What the kernel
/// grows is charged by other rules.
std::uintptr_t limit_of(const handler::SlotRecord& slot, std::uintptr_t base) noexcept {
  const std::uintptr_t limit = slot.limit.load(std::memory_order_acquire);
  const std::size_t charged = slot.charged_bytes.load(std::memory_order_acquire);
  return slot.growth.load(std::memory_order_acquire) == handler::Growth::by_kernel
             ? limit
             : std::min(limit, base - charged);
}

/// Every load is an acquire, so that the generation is read again after all of them.
StackBounds read(const handler::SlotRecord& slot, bool is_ours) noexcept {
  const auto pointer = [](std::uintptr_t at) { return reinterpret_cast<void*>(at); };
  const std::uintptr_t base = slot.base.load(std::memory_order_acquire);
  return {
      .base = pointer(base),
      .limit = pointer(is_ours ? limit_of(slot, base) : slot.limit.load(std::memory_order_acquire)),
      .floor = pointer(slot.floor.load(std::memory_order_acquire)),
      .guard = pointer(slot.guard.load(std::memory_order_acquire))};
}

}  // namespace

std::optional<StackBounds> stack_bounds(const void* address) noexcept {
  constexpr int most_attempts = 8;  // a stack that ends and begins so often is nobody's to look at
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  for (int attempt = 0; attempt < most_attempts; ++attempt) {
    const handler::SlotRecord* const slot = handler::live_slot(at);
    if (slot == nullptr) {
      break;
    }
    const std::uint32_t generation = slot->generation.load(std::memory_order_acquire);
    const StackBounds bounds = read(*slot, static_cast<bool>(Arena::slot_at(at)));
    const bool is_live = generation % 2 == 1 && bounds.guard <= address && address < bounds.base;
    if (slot->generation.load(std::memory_order_relaxed) == generation && is_live) {
      return bounds;
    }
  }
  return std::nullopt;
}

std::optional<StackBounds> current_stack_bounds() noexcept {
  return stack_bounds(__builtin_frame_address(0));
}

}  // namespace growstack
