// Pins: how many threads are at work in a slot, so that it cannot be retired meanwhile.
#pragma once

#include <growstack/handler/slot.hpp>

#include <atomic>
#include <cstdint>

namespace growstack::handler {

[[nodiscard]] inline std::atomic<std::uint32_t>& pins_of(const Range& range,
                                                         const SlotRecord& slot) noexcept {
  return range.pins[&slot - range.slots];
}

inline void pin(const Range& range, const SlotRecord& slot) noexcept {
  pins_of(range, slot).fetch_add(1, std::memory_order_seq_cst);
}

/// Not below 0: in the child of a signal handler that interrupted us and forked, the pin is gone
/// already.
inline void unpin(const Range& range, const SlotRecord& slot) noexcept {
  std::atomic<std::uint32_t>& pins = pins_of(range, slot);
  std::uint32_t seen = pins.load(std::memory_order_relaxed);
  while (seen != 0 && !pins.compare_exchange_weak(seen, seen - 1, std::memory_order_release)) {
  }
}

}  // namespace growstack::handler
