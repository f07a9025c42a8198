// The register of ranges: from any address to its slot in O(1), wait-free, from a signal handler.
//
// A flat table has one word per 64 MiB of address space. Adding and removing ranges takes a lock
// (ordinary threads only); looking up takes none. A slot that is being used by a fault is *pinned*;
// retire() waits for its pins.
#pragma once

#include <growstack/export.hpp>
#include <growstack/handler/slot.hpp>

#include <string_view>

namespace growstack::handler {

// ---- for owners: any thread, not from a signal handler ------------------------------------------

/// Describes the range that add_range() registers.
struct RangeDescription {
  std::uintptr_t begin = 0;    ///< lowest address, a multiple of range_alignment
  std::size_t size = 0;        ///< bytes, a multiple of range_alignment
  std::size_t first_slot = 0;  ///< bytes from begin to the first slot, a multiple of the page size
  /// Bytes, a multiple of the page size. There are as many slots as there is room for.
  std::size_t slot_size = 0;
  const Operations* operations = nullptr;    ///< how its slots grow; must stay for ever
  Committer committer = Committer::handler;  ///< which thread commits after a growth fault
  void* owner = nullptr;                     ///< for the operations
  const char* kind = "";  ///< what its stacks are, for debuggers; must outlive the range
};

/// Registers a range without any live slot. Any thread, not from a signal handler. Returns 0 and
/// sets `range`, or EINVAL (bounds are not aligned), EEXIST (overlaps a registered range), ENOMEM.
[[nodiscard]] GROWSTACK_EXPORT int add_range(const RangeDescription& description,
                                             Range*& range) noexcept;

/// Forgets a range, all of whose slots are retired. Any thread, not from a signal handler.
GROWSTACK_EXPORT void remove_range(Range& range) noexcept;

/// Returns the number of ranges that are registered now. Any thread.
[[nodiscard]] GROWSTACK_EXPORT std::size_t range_count() noexcept;

/// Describes the stack that publish() makes known.
struct SlotDescription {
  std::uintptr_t base = 0;   ///< highest address: where the stack starts
  std::uintptr_t floor = 0;  ///< lowest address that the stack may ever use
  std::uintptr_t guard = 0;  ///< lowest address of the slot
  std::uintptr_t limit = 0;  ///< lowest address that is committed at the start
  /// Bytes below `limit` in which a touch by a thread that runs elsewhere still counts as growth.
  std::size_t largest_step = 0;
  Growth growth = Growth::by_fault;  ///< who makes uncommitted memory usable at a touch
  std::string_view name;             ///< cut to max_name_length
};

/// Makes slot `index` live: from here on its faults are ours. One caller per slot at a time; not
/// from a signal handler.
GROWSTACK_EXPORT void publish(Range& range, std::uint32_t index,
                              const SlotDescription& description) noexcept;

/// Gives another name to a stack. For its owner, while nobody runs on it.
GROWSTACK_EXPORT void set_name(SlotRecord& slot, std::string_view name) noexcept;

/// Ends the slot's tenancy and waits until no faulting thread works in it. Not from a signal
/// handler.
GROWSTACK_EXPORT void retire(Range& range, std::uint32_t index) noexcept;

/// Returns whether a thread is working on a fault in this live slot, or a request about it was left
/// to the helper. If so, memory may be committed below the limit that nobody has told yet, and code
/// may use it already. For the slot's owner.
[[nodiscard]] GROWSTACK_EXPORT bool has_faults(const SlotRecord& slot) noexcept;

/// Waits until each thread is done that is working on a fault in this live slot. Others may begin
/// meanwhile. For the slot's owner; not from a signal handler.
GROWSTACK_EXPORT void wait_for_faults(const SlotRecord& slot) noexcept;

// ---- for faults: any thread, signal handlers included -------------------------------------------

/// Says whether a slot must be pinned. A pin that is left behind keeps its slot from being retired
/// for ever.
enum class Pin : std::uint8_t {
  /// The slot could be retired meanwhile. Then the code that holds the pin must reach its end: the
  /// program's signals are blocked (a handler might leave by siglongjmp), and this is no vfork
  /// child
  /// (which might be killed).
  needed,
  /// The caller runs on the slot, or owns it, so that nobody retires it.
  not_needed,
};

/// Finds the live slot that contains an address, and holds it so that it cannot be retired
/// meanwhile. Any thread, signal handlers included. Hold it briefly.
class GROWSTACK_EXPORT PinnedSlot {
 public:
  /// Pins the slot that the address lies in, if it lies in one.
  explicit PinnedSlot(std::uintptr_t address, Pin pin = Pin::needed) noexcept;
  /// Unpins the slot.
  ~PinnedSlot();
  PinnedSlot(const PinnedSlot&) = delete;
  PinnedSlot& operator=(const PinnedSlot&) = delete;

  /// Returns whether there is a slot. The other members may be called only if there is one.
  explicit operator bool() const noexcept { return slot_ != nullptr; }
  /// Returns the range that the slot lies in.
  [[nodiscard]] Range& range() const noexcept { return *range_; }
  /// Returns the slot's record.
  [[nodiscard]] SlotRecord& slot() const noexcept { return *slot_; }
  /// Returns the slot's number in its range.
  [[nodiscard]] std::uint32_t index() const noexcept {
    return static_cast<std::uint32_t>(slot_ - range_->slots);
  }

 private:
  Range* range_ = nullptr;
  SlotRecord* slot_ = nullptr;
  bool is_pinned_;
};

/// Returns the live slot that contains an address, or null if there is none. Pins nothing, so the
/// caller must know that the slot stays. Any thread, signal handlers included.
[[nodiscard]] GROWSTACK_EXPORT SlotRecord* live_slot(std::uintptr_t address) noexcept;

/// Finds a live slot as live_slot(address) does, but only in a range that was registered with the
/// operations `of`. So an owner of ranges finds its own slots, and no others. Any thread, signal
/// handlers included.
[[nodiscard]] GROWSTACK_EXPORT SlotRecord* live_slot(std::uintptr_t address,
                                                     const Operations& of) noexcept;

/// Returns true if `address` is not below the limit of the live slot that `inside` lies in, or if
/// `inside` lies in no range. In a range, but in no live slot, it may return either. Costs a few
/// loads, because it pins nothing: the caller must know that the slot stays. Any thread, signal
/// handlers included.
[[nodiscard]] GROWSTACK_EXPORT bool is_committed(std::uintptr_t inside,
                                                 std::uintptr_t address) noexcept;

/// Returns the lowest live slot whose guard begins at or above `address`, at most `reach` bytes
/// away, in whatever range; null if there is none. Pins nothing, as live_slot(). Any thread, signal
/// handlers included.
[[nodiscard]] GROWSTACK_EXPORT SlotRecord* live_slot_above(std::uintptr_t address,
                                                           std::size_t reach) noexcept;

/// Returns true if `address` lies in a slot of a range, whether or not that is live. The padding
/// beside the slots is in none: other mappings may lie there, and no code runs from a slot into it.
/// Any thread, signal handlers included.
[[nodiscard]] GROWSTACK_EXPORT bool in_some_slot(std::uintptr_t address) noexcept;

/// Returns true if `address` lies in a slot of `range` that is not live. Any thread, signal
/// handlers included.
[[nodiscard]] GROWSTACK_EXPORT bool in_vacant_slot(const Range& range,
                                                   std::uintptr_t address) noexcept;

/// Lowers `limit` and the high-water mark to where `step` begins, after a commit of `step`. Leaves
/// them alone if they are there already, and `limit` also if a trim has raised it meanwhile, or
/// goes on (`trimming_mark`); then it sets `left_below_mark`. Any thread, signal handlers included.
GROWSTACK_EXPORT void lower_limit(SlotRecord& slot, Step step) noexcept;

}  // namespace growstack::handler
