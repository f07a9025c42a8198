// The register of ranges: adding and removing them, and the tenancies of their slots. Adding and
// removing takes the life-cycle lock; fault/look_up.cpp reads without one.
#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/ranges.hpp>

#include <growstack/handler/name_memory.hpp>
#include <growstack/handler/pages.hpp>
#include "anywhere/fork_wiped.hpp"
#include "anywhere/own_memory.hpp"
#include "anywhere/table.hpp"
#include "fault/request.hpp"
#include "process/debugger.hpp"
#include "process/life_cycle_lock.hpp"

#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <new>

namespace growstack::handler {
namespace {

// ---- the flat table -----------------------------------------------------------------------------

int make_table() noexcept {
  if (table.load(std::memory_order_relaxed) != nullptr) {
    return 0;
  }
  void* const memory = mmap(nullptr, table_entries * sizeof(TableEntry), PROT_READ,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    return failed(SystemCall::mmap);
  }
  name_memory(reinterpret_cast<std::uintptr_t>(memory), table_entries * sizeof(TableEntry),
              table_name);
  // Without this a linker would leave the description out of a program that links the library
  // statically.
  asm volatile("" : : "r"(&growstack_debug));
  table.store(static_cast<TableEntry*>(memory), std::memory_order_release);
  return 0;
}

/// The table's entries for [begin, begin + size).
struct Entries {
  TableEntry* first;
  TableEntry* last;

  Entries(std::uintptr_t begin, std::size_t size) noexcept
      : first(table.load(std::memory_order_relaxed) + (begin >> range_shift)),
        last(first + (size >> range_shift)) {}

  [[nodiscard]] bool are_empty() const noexcept {
    return std::all_of(first, last, [](const TableEntry& entry) {
      return entry.load(std::memory_order_relaxed) == nullptr;
    });
  }

  [[nodiscard]] int make_writable() const noexcept {
    const std::uintptr_t begin = page_down(reinterpret_cast<std::uintptr_t>(first));
    const std::uintptr_t end = page_up(reinterpret_cast<std::uintptr_t>(last));
    return mprotect(reinterpret_cast<void*>(begin), end - begin, PROT_READ | PROT_WRITE) == 0
               ? 0
               : failed(SystemCall::mprotect);
  }

  void set(Range* range) const noexcept {
    for (TableEntry* entry = first; entry != last; ++entry) {
      entry->store(range, std::memory_order_release);
    }
  }
};

// ---- type-stable records ------------------------------------------------------------------------

/// Memory that is handed out and never unmapped, so that what lies in it may be read for ever. It
/// is zero at first. Fresh slot records and pins are zero as well, so they need no construction,
/// and those that are never used cost no memory. Under the life-cycle lock.
class RecordStore {
 public:
  using Map = void* (*)(std::size_t) noexcept;
  explicit constexpr RecordStore(Map map) noexcept : map_(map) {}

  static constexpr std::size_t rounded(std::size_t bytes) noexcept {
    constexpr std::size_t alignment = alignof(SlotRecord);
    return (bytes + alignment - 1) & ~(alignment - 1);
  }

  /// Returns null, with errno, if there is no memory.
  [[nodiscard]] void* take(std::size_t bytes) noexcept {
    bytes = rounded(bytes);
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

  /// Takes back what take() returned last. Of a null pointer there is nothing to take back.
  void take_back(void* last, std::size_t bytes) noexcept {
    bytes = rounded(bytes);
    if (last != nullptr && static_cast<std::byte*>(last) + bytes == next_) {
      next_ -= bytes;
      left_ += bytes;
    }
  }

 private:
  static constexpr std::size_t least_chunk = std::size_t{256} * 1024;
  Map map_;
  std::byte* next_ = nullptr;
  std::size_t left_ = 0;
};

void* map_ordinary(std::size_t bytes) noexcept {
  void* const memory = map_own_memory(bytes);
  if (memory != nullptr) {
    name_memory(reinterpret_cast<std::uintptr_t>(memory), bytes, records_name);
  }
  return memory;
}

RecordStore records{map_ordinary};
RecordStore pin_words{map_fork_wiped};

Range* free_ranges = nullptr;
std::atomic<std::size_t> ranges_in_use{0};

/// Returns the smallest free range record with room for `slots`, otherwise a new one; null, with
/// errno, if there is no memory.
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
  // The range and its slots in one piece, so that all of it can be taken back.
  constexpr std::size_t before_slots = RecordStore::rounded(sizeof(Range));
  const std::size_t bytes = before_slots + slots * sizeof(SlotRecord);
  auto* const memory = static_cast<std::byte*>(records.take(bytes));
  void* const pins =
      memory == nullptr ? nullptr : pin_words.take(slots * sizeof(std::atomic<std::uint32_t>));
  if (pins == nullptr) {
    records.take_back(memory, bytes);
    return nullptr;
  }
  auto* const range = new (memory) Range;
  void* const behind = memory + before_slots;
  range->slots = static_cast<SlotRecord*>(behind);
  range->pins = static_cast<std::atomic<std::uint32_t>*>(pins);
  range->capacity = slots;
  return range;
}

void return_range(Range& range) noexcept {
  range.next_free = free_ranges;
  free_ranges = &range;
}

// ---- ranges -------------------------------------------------------------------------------------

bool is_well_formed(const RangeDescription& wanted) noexcept {
  constexpr std::uintptr_t end_of_table = table_entries << range_shift;
  return wanted.begin % range_alignment == 0 && wanted.size % range_alignment == 0 &&
         wanted.size != 0 && wanted.slot_size != 0 && wanted.slot_size % page_size() == 0 &&
         wanted.first_slot % page_size() == 0 && wanted.first_slot < wanted.size &&
         wanted.slot_size <= wanted.size - wanted.first_slot && wanted.begin < end_of_table &&
         wanted.size <= end_of_table - wanted.begin && wanted.operations != nullptr;
}

/// Returns what slot_index() multiplies by: ceil(2^(63 + shift) / pages), where 2^shift is the
/// largest power of two that is not above `pages`. So it is at most 2^63, and the quotient is exact
/// for every dividend below 2^62.
std::uint64_t reciprocal_of(std::uint64_t pages, unsigned shift) noexcept {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>(((Wide{1} << (63U + shift)) + pages - 1) / pages);
}

void describe(Range& range, const RangeDescription& wanted, std::uint32_t slots) noexcept {
  range.begin.store(wanted.begin, std::memory_order_relaxed);
  range.size.store(wanted.size, std::memory_order_relaxed);
  range.first_slot.store(wanted.begin + wanted.first_slot, std::memory_order_relaxed);
  range.slot_size.store(wanted.slot_size, std::memory_order_relaxed);
  range.slot_count.store(slots, std::memory_order_relaxed);
  const std::uint64_t pages = wanted.slot_size / page_size();
  const auto shift = static_cast<unsigned>(std::bit_width(pages) - 1);
  range.reciprocal.store(reciprocal_of(pages, shift), std::memory_order_relaxed);
  range.reciprocal_shift.store(shift, std::memory_order_relaxed);
  range.operations = wanted.operations;
  range.committer = wanted.committer;
  range.owner = wanted.owner;
  range.kind = wanted.kind;
}

}  // namespace

int add_range(const RangeDescription& description, Range*& range) noexcept {
  if (!is_well_formed(description)) {
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
  const Entries entries(description.begin, description.size);
  if (!entries.are_empty()) {
    return EEXIST;
  }
  if (const int error = entries.make_writable(); error != 0) {
    return error;
  }
  Range* const taken = take_range(static_cast<std::uint32_t>(slots));
  if (taken == nullptr) {
    return errno;
  }
  describe(*taken, description, static_cast<std::uint32_t>(slots));
  entries.set(taken);
  ranges_in_use.fetch_add(1, std::memory_order_relaxed);
  range = taken;
  return 0;
}

void remove_range(Range& range) noexcept {
  const LifeCycleLock lock;
  Entries(range.begin.load(std::memory_order_relaxed), range.size.load(std::memory_order_relaxed))
      .set(nullptr);
  ranges_in_use.fetch_sub(1, std::memory_order_relaxed);
  return_range(range);
}

std::size_t range_count() noexcept { return ranges_in_use.load(std::memory_order_relaxed); }

// ---- slots --------------------------------------------------------------------------------------

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

namespace {

template <class Condition>
void wait_while(const Condition& condition) noexcept {
  for (unsigned attempt = 0; condition(); ++attempt) {
    if (attempt < 100) {
      sched_yield();
    } else {
      // A real-time thread that only yields would keep the thread that it waits for from running. A
      // bare system call, because usleep(3) is a cancellation point.
      constexpr timespec pause{.tv_sec = 0, .tv_nsec = 50'000};
      syscall(SYS_nanosleep, &pause, nullptr);
    }
  }
}

}  // namespace

void retire(Range& range, std::uint32_t index) noexcept {
  // Sequentially consistent with PinnedSlot: either it sees the generation that we leave, or we see
  // its pin.
  SlotRecord& slot = range.slots[index];
  slot.generation.fetch_add(1, std::memory_order_seq_cst);
  wait_while([&] {
    return range.pins[index].load(std::memory_order_seq_cst) != 0 || is_left_to_helper(slot);
  });
}

namespace {

const std::atomic<std::uint32_t>& pins_of(const SlotRecord& slot) noexcept {
  const std::uintptr_t inside = slot.guard.load(std::memory_order_relaxed);
  const Range& range =
      *table.load(std::memory_order_acquire)[inside >> range_shift].load(std::memory_order_acquire);
  return range.pins[&slot - range.slots];
}

}  // namespace

bool has_faults(const SlotRecord& slot) noexcept {
  if (pins_of(slot).load(std::memory_order_seq_cst) != 0) {
    return true;
  }
  return is_left_to_helper(slot);  // a thread leaves its request before it unpins the slot
}

void wait_for_faults(const SlotRecord& slot) noexcept {
  const std::atomic<std::uint32_t>& pins = pins_of(slot);
  wait_while([&] { return pins.load(std::memory_order_seq_cst) != 0; });
}

}  // namespace growstack::handler
