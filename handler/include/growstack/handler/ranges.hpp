// The register of ranges: from any address to its slot in O(1), wait-free, from a signal handler.
//
// A flat table has one word per 64 MiB of address space. Adding and removing ranges takes a lock
// (ordinary threads only); looking up takes none. A slot that is being used by a fault is *pinned*;
// retire() waits for its pins.
#pragma once

#include <growstack/handler/slot.hpp>

#include <string_view>

#pragma GCC visibility push(default)  // exported from a shared library

namespace growstack::handler {

/// What add_range() is to register.
struct RangeDescription {
  std::uintptr_t begin = 0;    ///< multiple of range_alignment
  std::size_t size = 0;        ///< bytes, multiple of range_alignment
  std::size_t first_slot = 0;  ///< bytes from begin to the first slot, multiple of the page size
  std::size_t slot_size =
      0;  ///< bytes, multiple of the page size; as many slots as there is room for
  const Operations* operations = nullptr;    ///< how its slots grow; must outlive the range
  Committer committer = Committer::handler;  ///< in which thread
  void* owner = nullptr;                     ///< for the operations
  const char* kind = "";  ///< what its stacks are, for debuggers; must outlive the range
};

/// Registers a range without any live slot. Any thread, not from a signal handler. Returns 0 and
/// sets `range`, or EINVAL (bounds not aligned), EEXIST (overlaps a registered range), ENOMEM.
[[nodiscard]] int add_range(const RangeDescription& description, Range*& range) noexcept;

/// Forgets a range, all of whose slots are retired. Any thread, not from a signal handler.
void remove_range(Range& range) noexcept;

/// Number of ranges registered now. Any thread.
[[nodiscard]] std::size_t range_count() noexcept;

/// The stack that publish() makes known.
struct SlotDescription {
  std::uintptr_t base = 0;           ///< see SlotRecord
  std::uintptr_t floor = 0;          ///< see SlotRecord
  std::uintptr_t guard = 0;          ///< see SlotRecord
  std::uintptr_t limit = 0;          ///< see SlotRecord
  std::size_t largest_step = 0;      ///< see SlotRecord
  Growth growth = Growth::by_fault;  ///< see SlotRecord
  std::string_view name;             ///< cut to max_name_length
};

/// Makes slot `index` live: from here on its faults are ours. One caller per slot at a time.
void publish(Range& range, std::uint32_t index, const SlotDescription& description) noexcept;

/// Another name for a stack that lives there: its owner does so while nobody runs on it.
void set_name(SlotRecord& slot, std::string_view name) noexcept;

/// Ends the slot's tenancy and waits until no faulting thread works in it. Not from a signal
/// handler.
void retire(Range& range, std::uint32_t index) noexcept;

/// The live slot that contains an address, held so that it cannot be retired meanwhile. Any thread,
/// signal handlers included; hold it briefly.
class PinnedSlot {
 public:
  /// Pins the slot that the address lies in, if one does.
  explicit PinnedSlot(std::uintptr_t address) noexcept;
  /// Lets it go.
  ~PinnedSlot();
  PinnedSlot(const PinnedSlot&) = delete;
  PinnedSlot& operator=(const PinnedSlot&) = delete;

  /// Whether there is one; the rest may be asked only if so.
  explicit operator bool() const noexcept { return slot_ != nullptr; }
  /// The range that it lies in.
  [[nodiscard]] Range& range() const noexcept { return *range_; }
  /// Its record.
  [[nodiscard]] SlotRecord& slot() const noexcept { return *slot_; }
  /// Its number in the range.
  [[nodiscard]] std::uint32_t index() const noexcept {
    return static_cast<std::uint32_t>(slot_ - range_->slots);
  }

 private:
  Range* range_ = nullptr;
  SlotRecord* slot_ = nullptr;
};

/// The live slot that contains an address; null if there is none. Pins nothing: for a slot that the
/// caller knows to stay. Any thread, signal handlers included.
[[nodiscard]] SlotRecord* live_slot(std::uintptr_t address) noexcept;

/// True if `address` is not below the limit of the slot that `inside` lies in, or if there is no
/// such slot. Pins nothing, and so costs a few loads: for a slot that the caller knows to stay. Any
/// thread, signal handlers included.
[[nodiscard]] bool is_committed(std::uintptr_t inside, std::uintptr_t address) noexcept;

/// True if `address` lies in `range` but in no live slot. Any thread, signal handlers included.
[[nodiscard]] bool in_vacant_slot(const Range& range, std::uintptr_t address) noexcept;

/// After a commit of `step`: lowers `limit` (and the high-water mark) to where the step begins,
/// unless it is there already, or has been raised meanwhile by a trim. Any thread, signal handlers
/// included.
void lower_limit(SlotRecord& slot, Step step) noexcept;

}  // namespace growstack::handler

#pragma GCC visibility pop
