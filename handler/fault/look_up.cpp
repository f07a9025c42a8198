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
  // 2^63 is the unit of the reciprocal, so that twice the page gives the quotient in the upper
  // half.
  const Product product =
      static_cast<Product>(2 * page) * range.reciprocal.load(std::memory_order_relaxed);
  return static_cast<std::uint32_t>(static_cast<std::uint64_t>(product >> 64U) >>
                                    range.reciprocal_shift.load(std::memory_order_relaxed));
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

/// Returns an address above `address` below which no other slot begins.
std::uintptr_t next_slot_above(std::uintptr_t address) noexcept {
  const std::uintptr_t next_block = (address / range_alignment + 1) * range_alignment;
  const Range* const range = range_at(address);
  if (range == nullptr) {
    return next_block;
  }
  const std::uintptr_t first = range->first_slot.load(std::memory_order_relaxed);
  if (address < first) {
    return first;
  }
  const std::uint32_t index = slot_index(*range, address);
  if (index >= range->slot_count.load(std::memory_order_relaxed)) {
    return next_block;  // behind the last slot; another range may begin there
  }
  const std::uintptr_t next =
      first + (std::size_t{index} + 1) * range->slot_size.load(std::memory_order_relaxed);
  return next > address ? next : next_block;  // a record that is changing hands gives any number
}

void pin(const Range& range, const SlotRecord& slot) noexcept {
  range.pins[&slot - range.slots].fetch_add(1, std::memory_order_seq_cst);
}

/// Not below 0: in the child of a signal handler that interrupted us and forked, the pin is gone
/// already.
void unpin(const Range& range, const SlotRecord& slot) noexcept {
  std::atomic<std::uint32_t>& pins = range.pins[&slot - range.slots];
  std::uint32_t seen = pins.load(std::memory_order_relaxed);
  while (seen != 0 && !pins.compare_exchange_weak(seen, seen - 1, std::memory_order_release)) {
  }
}

}  // namespace

PinnedSlot::PinnedSlot(std::uintptr_t address, Pin pinned) noexcept
    : is_pinned_(pinned == Pin::needed) {
  Range* const range = range_at(address);
  SlotRecord* const slot = range == nullptr ? nullptr : record_at(*range, address);
  if (slot == nullptr) {
    return;
  }
  // Pinned first and looked at second: retire() does it in the other order.
  if (is_pinned_) {
    pin(*range, *slot);
  }
  if (lives_at(*slot, address)) {
    range_ = range;
    slot_ = slot;
  } else if (is_pinned_) {
    unpin(*range, *slot);
  }
}

PinnedSlot::~PinnedSlot() {
  if (slot_ != nullptr && is_pinned_) {
    unpin(*range_, *slot_);
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

SlotRecord* live_slot_above(std::uintptr_t address, std::size_t reach) noexcept {
  for (std::uintptr_t at = address; at - address <= reach; at = next_slot_above(at)) {
    const Range* const range = range_at(at);
    const bool in_slots =
        range != nullptr && at >= range->first_slot.load(std::memory_order_relaxed);
    SlotRecord* const slot = in_slots ? record_at(*range, at) : nullptr;
    if (slot != nullptr && is_live(slot->generation.load(std::memory_order_seq_cst))) {
      const std::uintptr_t guard = slot->guard.load(std::memory_order_relaxed);
      if (guard >= address) {  // otherwise the address lies in this one
        return guard - address <= reach ? slot : nullptr;
      }
    }
  }
  return nullptr;
}

bool is_committed(std::uintptr_t inside, std::uintptr_t address) noexcept {
  const Range* const range = range_at(inside);
  const SlotRecord* const slot = range == nullptr ? nullptr : record_at(*range, inside);
  return slot == nullptr || address >= slot->limit.load(std::memory_order_acquire);
}

bool in_some_slot(std::uintptr_t address) noexcept {
  const Range* const range = range_at(address);
  return range != nullptr && address >= range->first_slot.load(std::memory_order_relaxed) &&
         slot_index(*range, address) < range->slot_count.load(std::memory_order_relaxed);
}

bool in_vacant_slot(const Range& range, std::uintptr_t address) noexcept {
  return range_at(address) == &range && in_some_slot(address) && live_slot(address) == nullptr;
}

}  // namespace growstack::handler
