#include <growstack/handler/ranges.hpp>

#include <growstack/handler/name_memory.hpp>
#include <growstack/handler/pages.hpp>
#include "process/debugger.hpp"
#include "anywhere/fork_wiped.hpp"
#include "process/life_cycle_lock.hpp"
#include "anywhere/table.hpp"

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

namespace growstack::handler {

constinit std::atomic<TableEntry*> table{nullptr};

namespace {

// ---- the flat table: one word per 64 MiB of user address space ----------------------------------
//
// Reserved readable, which costs neither memory nor charge (every page is the zero page); the pages
// that get an entry are made writable first. Entries are written under the life-cycle lock, by
// single stores, and read by anyone.

using Entry = TableEntry;

Range* look_up(std::uintptr_t address) noexcept {
  Entry* const entries = table.load(std::memory_order_acquire);
  const std::size_t block = address >> range_shift;
  return entries != nullptr && block < table_entries
             ? entries[block].load(std::memory_order_acquire)
             : nullptr;
}

int make_table() noexcept {
  if (table.load(std::memory_order_relaxed) != nullptr) {
    return 0;
  }
  void* const memory = mmap(nullptr, table_entries * sizeof(Entry), PROT_READ,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return errno;
  }
  name_memory(reinterpret_cast<std::uintptr_t>(memory), table_entries * sizeof(Entry), table_name);
  // Without this a linker would leave the description out of a program that links the library
  // statically.
  asm volatile("" : : "r"(&growstack_debug));
  table.store(static_cast<Entry*>(memory), std::memory_order_release);
  return 0;
}

int make_writable(Entry* first, Entry* last) noexcept {
  const std::uintptr_t begin = page_down(reinterpret_cast<std::uintptr_t>(first));
  const std::uintptr_t end = page_up(reinterpret_cast<std::uintptr_t>(last));
  return mprotect(reinterpret_cast<void*>(begin), end - begin, PROT_READ | PROT_WRITE) == 0 ? 0
                                                                                            : errno;
}

// ---- type-stable records ------------------------------------------------------------------------

/// Memory that is only ever handed out: what lies in it may be read for ever. All zeros at first,
/// as fresh slot records and pins are: they need no other construction, and those that are never
/// used cost no memory. Under the life-cycle lock.
class RecordStore {
 public:
  using Map = void* (*)(std::size_t) noexcept;
  explicit constexpr RecordStore(Map map) noexcept : map_(map) {}

  void* take(std::size_t bytes) noexcept {
    bytes = (bytes + alignment - 1) & ~(alignment - 1);
    if (bytes > left_) {
      const std::size_t chunk = page_up(std::max(bytes, least_chunk));
      auto* const memory = static_cast<std::byte*>(map_(chunk));
      if (memory == nullptr) {
        return nullptr;
      }
      next_ = memory;
      left_ = chunk;
    }
    std::byte* const taken = next_;
    next_ += bytes;
    left_ -= bytes;
    return taken;
  }

 private:
  static constexpr std::size_t alignment = alignof(SlotRecord);
  static constexpr std::size_t least_chunk = std::size_t{256} * 1024;
  Map map_;
  std::byte* next_ = nullptr;
  std::size_t left_ = 0;
};

void* map_ordinary(std::size_t bytes) noexcept {
  void* const memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return nullptr;
  }
  name_memory(reinterpret_cast<std::uintptr_t>(memory), bytes, records_name);
  return memory;
}

RecordStore records{map_ordinary};
RecordStore pin_words{map_fork_wiped};

Range* free_ranges = nullptr;
std::atomic<std::size_t> ranges_in_use{0};

/// The smallest free range record with room for `slots`, or a new one.
Range* take_range(std::uint32_t slots) noexcept {
  Range** best = nullptr;
  for (Range** link = &free_ranges; *link != nullptr; link = &(*link)->next_free) {
    if ((*link)->capacity >= slots && (best == nullptr || (*link)->capacity < (*best)->capacity)) {
      best = link;
    }
  }
  if (best != nullptr) {
    Range* const range = *best;
    *best = range->next_free;
    return range;
  }
  void* const memory = records.take(sizeof(Range));
  void* const slot_memory = records.take(slots * sizeof(SlotRecord));
  void* const pin_memory = pin_words.take(slots * sizeof(std::atomic<std::uint32_t>));
  if (memory == nullptr || slot_memory == nullptr || pin_memory == nullptr) {
    return nullptr;
  }
  auto* const range = new (memory) Range;
  range->slots = static_cast<SlotRecord*>(slot_memory);
  range->pins = static_cast<std::atomic<std::uint32_t>*>(pin_memory);
  range->capacity = slots;
  return range;
}

void return_range(Range& range) noexcept {
  range.next_free = free_ranges;
  free_ranges = &range;
}

/// ceil(2^64 / divisor): multiplying by it and keeping the upper half divides exactly while
/// dividend * divisor < 2^64.
std::uint64_t reciprocal_of(std::uint64_t divisor) noexcept {
  return ~std::uint64_t{0} / divisor + 1;
}

__extension__ using Product = unsigned __int128;

std::uint32_t slot_index(const Range& range, std::uintptr_t address) noexcept {
  // A range of one slot has no reciprocal to speak of: 0 takes every address to slot 0. One below
  // the first slot comes out as any number: it is in no slot's bounds.
  const std::uint64_t page =
      (address - range.first_slot.load(std::memory_order_relaxed)) / page_size();
  const std::uint64_t reciprocal = range.reciprocal.load(std::memory_order_relaxed);
  return static_cast<std::uint32_t>((static_cast<Product>(page) * reciprocal) >> 64U);
}

bool is_live(std::uint32_t generation) noexcept { return generation % 2 == 1; }

bool lives_at(const SlotRecord& slot, std::uintptr_t address) noexcept {
  return is_live(slot.generation.load(std::memory_order_seq_cst)) &&
         slot.guard.load(std::memory_order_relaxed) <= address &&
         address < slot.base.load(std::memory_order_relaxed);
}

}  // namespace

int add_range(const RangeDescription& description, Range*& range) noexcept {
  const std::uintptr_t end = description.begin + description.size;
  if (description.begin % range_alignment != 0 || description.size % range_alignment != 0 ||
      description.size == 0 || description.slot_size == 0 ||
      description.slot_size % page_size() != 0 || description.first_slot % page_size() != 0 ||
      description.first_slot >= description.size ||
      description.slot_size > description.size - description.first_slot ||
      (end - 1) >> range_shift >= table_entries || description.operations == nullptr) {
    return EINVAL;
  }
  const std::size_t slots = (description.size - description.first_slot) / description.slot_size;
  if (slots > UINT32_MAX) {
    return EINVAL;
  }

  const LifeCycleLock lock;
  if (const int error = make_table(); error != 0) {
    return error;
  }
  Entry* const first = table.load(std::memory_order_relaxed) + (description.begin >> range_shift);
  Entry* const last = first + (description.size >> range_shift);
  if (std::any_of(first, last, [](const Entry& entry) {
        return entry.load(std::memory_order_relaxed) != nullptr;
      })) {
    return EEXIST;
  }
  if (const int error = make_writable(first, last); error != 0) {
    return error;
  }
  Range* const taken = take_range(static_cast<std::uint32_t>(slots));
  if (taken == nullptr) {
    return ENOMEM;
  }
  taken->begin.store(description.begin, std::memory_order_relaxed);
  taken->size.store(description.size, std::memory_order_relaxed);
  taken->first_slot.store(description.begin + description.first_slot, std::memory_order_relaxed);
  taken->slot_size.store(description.slot_size, std::memory_order_relaxed);
  taken->slot_count.store(static_cast<std::uint32_t>(slots), std::memory_order_relaxed);
  taken->reciprocal.store(slots == 1 ? 0 : reciprocal_of(description.slot_size / page_size()),
                          std::memory_order_relaxed);
  taken->operations = description.operations;
  taken->committer = description.committer;
  taken->owner = description.owner;
  taken->kind = description.kind;
  for (Entry* entry = first; entry != last; ++entry) {
    entry->store(taken, std::memory_order_release);
  }
  ranges_in_use.fetch_add(1, std::memory_order_relaxed);
  range = taken;
  return 0;
}

void remove_range(Range& range) noexcept {
  const LifeCycleLock lock;
  Entry* const first = table.load(std::memory_order_relaxed) +
                       (range.begin.load(std::memory_order_relaxed) >> range_shift);
  Entry* const last = first + (range.size.load(std::memory_order_relaxed) >> range_shift);
  for (Entry* entry = first; entry != last; ++entry) {
    entry->store(nullptr, std::memory_order_release);
  }
  ranges_in_use.fetch_sub(1, std::memory_order_relaxed);
  return_range(range);
}

std::size_t range_count() noexcept { return ranges_in_use.load(std::memory_order_relaxed); }

void set_name(SlotRecord& slot, std::string_view name) noexcept {
  const std::size_t length = std::min(name.size(), max_name_length);
  std::memcpy(slot.name, name.data(), length);
  slot.name[length] = '\0';
}

void publish(Range& range, std::uint32_t index, const SlotDescription& description) noexcept {
  SlotRecord& slot = range.slots[index];
  slot.base.store(description.base, std::memory_order_relaxed);
  slot.floor.store(description.floor, std::memory_order_relaxed);
  slot.guard.store(description.guard, std::memory_order_relaxed);
  slot.limit.store(description.limit, std::memory_order_relaxed);
  slot.high_water.store(description.limit, std::memory_order_relaxed);
  slot.largest_step.store(description.largest_step, std::memory_order_relaxed);
  slot.growth.store(description.growth, std::memory_order_relaxed);
  slot.growth_faults.store(0, std::memory_order_relaxed);
  slot.remote_growth_faults.store(0, std::memory_order_relaxed);
  slot.unseen_growth.store(0, std::memory_order_relaxed);
  slot.owner.store(range.owner, std::memory_order_relaxed);
  slot.marks.store(0, std::memory_order_relaxed);
  set_name(slot, description.name);
  slot.generation.fetch_add(1, std::memory_order_release);
}

void retire(Range& range, std::uint32_t index) noexcept {
  // Sequentially consistent against PinnedSlot: either it sees the generation we leave, or we see
  // its pin.
  range.slots[index].generation.fetch_add(1, std::memory_order_seq_cst);
  for (unsigned attempt = 0; range.pins[index].load(std::memory_order_seq_cst) != 0; ++attempt) {
    if (attempt < 100) {
      sched_yield();
    } else {
      usleep(50);  // a real-time thread would keep the one it waits for from running
    }
  }
}

SlotRecord* live_slot(std::uintptr_t address) noexcept {
  Range* const range = look_up(address);
  if (range == nullptr) {
    return nullptr;
  }
  const std::uint32_t index = slot_index(*range, address);
  return index < range->capacity && lives_at(range->slots[index], address) ? &range->slots[index]
                                                                           : nullptr;
}

PinnedSlot::PinnedSlot(std::uintptr_t address) noexcept {
  Range* const range = look_up(address);
  if (range == nullptr) {
    return;
  }
  const std::uint32_t index = slot_index(*range, address);
  if (index >= range->capacity) {
    return;  // padding behind the last slot, or a record that is changing hands
  }
  range->pins[index].fetch_add(1, std::memory_order_seq_cst);
  SlotRecord& slot = range->slots[index];
  if (lives_at(slot, address)) {
    range_ = range;
    slot_ = &slot;
  } else {
    range->pins[index].fetch_sub(1, std::memory_order_release);
  }
}

PinnedSlot::~PinnedSlot() {
  if (slot_ == nullptr) {
    return;
  }
  // Not below 0: the pin is gone already in the child of a signal handler that forked while it
  // interrupted us.
  std::atomic<std::uint32_t>& pins = range_->pins[index()];
  std::uint32_t seen = pins.load(std::memory_order_relaxed);
  while (seen != 0 && !pins.compare_exchange_weak(seen, seen - 1, std::memory_order_release)) {
  }
}

bool is_committed(std::uintptr_t inside, std::uintptr_t address) noexcept {
  const Range* const range = look_up(inside);
  if (range == nullptr) {
    return true;
  }
  const std::uint32_t index = slot_index(*range, inside);
  return index >= range->capacity ||
         address >= range->slots[index].limit.load(std::memory_order_acquire);
}

bool in_vacant_slot(const Range& range, std::uintptr_t address) noexcept {
  // What lies beside the slots is not the range's, though it is in no other.
  return look_up(address) == &range &&
         address >= range.first_slot.load(std::memory_order_relaxed) &&
         slot_index(range, address) < range.slot_count.load(std::memory_order_relaxed) &&
         !PinnedSlot(address);
}

void lower_limit(SlotRecord& slot, Step step) noexcept {
  const auto lower = [&](std::atomic<std::uintptr_t>& word, std::uintptr_t highest) {
    std::uintptr_t seen = word.load(std::memory_order_relaxed);
    while (seen > step.begin && seen <= highest &&
           !word.compare_exchange_weak(seen, step.begin, std::memory_order_release)) {
    }
  };
  // Above the end of the step it was raised by a trim, which took away what lies between: the limit
  // must not claim that.
  lower(slot.limit, step.end);
  lower(slot.high_water, UINTPTR_MAX);
  slot.marks.fetch_or(grown_mark, std::memory_order_release);
}

}  // namespace growstack::handler
