// From an address to its slot in O(1), wait-free: one word of the flat table gives the range, one
// multiplication the slot. process/ranges.cpp writes what is read here.
#include <growstack/handler/ranges.hpp>

#include <growstack/handler/pages.hpp>
#include "anywhere/table.hpp"

namespace growstack::handler {
namespace {

Range* range_at(std::uintptr_t address) noexcept {
  TableEntry* const entries = table.load(std::memory_order_acquire);
  const std::size_t block = address >> range_shift;
  return entries != nullptr && block < table_entries
             ? entries[block].load(std::memory_order_acquire)
             : nullptr;
}

__extension__ using Product = unsigned __int128;

/// Returns the number of the slot that the address would be in. An address below the first slot
/// gives any number, and lies in no slot's bounds.
std::uint32_t slot_index(const Range& range, std::uintptr_t address) noexcept {
  const std::uint64_t page =
      (address - range.first_slot.load(std::memory_order_relaxed)) / page_size();
  const std::uint64_t reciprocal = range.reciprocal.load(std::memory_order_relaxed);
  return static_cast<std::uint32_t>((static_cast<Product>(page) * reciprocal) >> 64U);
}

/// Returns null for padding behind the last slot, and for a record that is changing hands.
SlotRecord* record_at(const Range& range, std::uintptr_t address) noexcept {
  const std::uint32_t index = slot_index(range, address);
  return index < range.capacity ? &range.slots[index] : nullptr;
}

bool is_live(std::uint32_t generation) noexcept { return generation % 2 == 1; }

bool lives_at(const SlotRecord& slot, std::uintptr_t address) noexcept {
  return is_live(slot.generation.load(std::memory_order_seq_cst)) &&
         slot.guard.load(std::memory_order_relaxed) <= address &&
         address < slot.base.load(std::memory_order_relaxed);
}

}  // namespace

PinnedSlot::PinnedSlot(std::uintptr_t address) noexcept {
  Range* const range = range_at(address);
  SlotRecord* const slot = range == nullptr ? nullptr : record_at(*range, address);
  if (slot == nullptr) {
    return;
  }
  std::atomic<std::uint32_t>& pins = range->pins[slot - range->slots];
  // Pinned first and looked at second: retire() does it in the other order.
  pins.fetch_add(1, std::memory_order_seq_cst);
  if (lives_at(*slot, address)) {
    range_ = range;
    slot_ = slot;
  } else {
    pins.fetch_sub(1, std::memory_order_release);
  }
}

PinnedSlot::~PinnedSlot() {
  if (slot_ == nullptr) {
    return;
  }
  // Not below 0: in the child of a signal handler that interrupted us and forked, the pin is gone
  // already.
  std::atomic<std::uint32_t>& pins = range_->pins[index()];
  std::uint32_t seen = pins.load(std::memory_order_relaxed);
  while (seen != 0 && !pins.compare_exchange_weak(seen, seen - 1, std::memory_order_release)) {
  }
}

SlotRecord* live_slot(std::uintptr_t address) noexcept {
  const Range* const range = range_at(address);
  SlotRecord* const slot = range == nullptr ? nullptr : record_at(*range, address);
  return slot != nullptr && lives_at(*slot, address) ? slot : nullptr;
}

SlotRecord* live_slot(std::uintptr_t address, const Operations& of) noexcept {
  const Range* const range = range_at(address);
  SlotRecord* const slot =
      range == nullptr || range->operations != &of ? nullptr : record_at(*range, address);
  return slot != nullptr && lives_at(*slot, address) ? slot : nullptr;
}

bool is_committed(std::uintptr_t inside, std::uintptr_t address) noexcept {
  const Range* const range = range_at(inside);
  const SlotRecord* const slot = range == nullptr ? nullptr : record_at(*range, inside);
  return slot == nullptr || address >= slot->limit.load(std::memory_order_acquire);
}

bool in_vacant_slot(const Range& range, std::uintptr_t address) noexcept {
  // The padding beside the slots is in no slot, and no code can have run from a slot into it.
  return range_at(address) == &range &&
         address >= range.first_slot.load(std::memory_order_relaxed) &&
         slot_index(range, address) < range.slot_count.load(std::memory_order_relaxed) &&
         !PinnedSlot(address);
}

}  // namespace growstack::handler
