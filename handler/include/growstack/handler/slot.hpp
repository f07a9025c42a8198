// What the fault path knows of a stack: its slot, the range that slot lies in, and the operations
// of that range.
//
// The picture, used by every name in this library (addresses fall from top to bottom):
//
//     high addresses
//       base        highest address of a stack: where it starts
//         committed     readable and writable, charged, may or may not be resident yet
//       limit       lowest committed address: moves down as the stack grows, up as it is trimmed
//         uncommitted   reserved address space: a touch here is a growth fault
//       floor       lowest address the stack may ever use
//         guard         never committed by growth: a touch here is overflow
//       guard       lowest address of the slot
//     low addresses
//
// Nothing here knows of stacks as objects, of pools or of strategies: those are the library's
// words, one level up.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace growstack::handler {

struct Fault;
struct Range;

/// Addresses [begin, end), page aligned, that one growth commits. Empty when begin == end.
struct Step {
  std::uintptr_t begin = 0;  ///< lowest address
  std::uintptr_t end = 0;    ///< first address that is not in it
};

/// Who makes uncommitted memory usable at a touch.
enum class Growth : std::uint8_t {
  by_fault,      ///< our fault path, told by SIGSEGV (PROT_NONE, guard markers)
  by_bus_error,  ///< our fault path, told by SIGBUS (userfaultfd with UFFD_FEATURE_SIGBUS)
  by_monitor,    ///< our monitor thread, told by userfaultfd: no signal is raised (userfault.hpp)
  by_kernel,     ///< the kernel on its own (demand paging, MAP_GROWSDOWN)
};

/// Which thread calls Operations::commit: the one that faulted, or the helper thread at the other
/// end of the pipe.
enum class Committer : std::uint8_t {
  handler,  ///< the thread that faulted, in the signal handler
  helper,   ///< the helper thread
};

/// Longest stack name kept, without the terminating zero.
inline constexpr std::size_t max_name_length = 39;

/// One stack as the fault path sees it. Records are type-stable: never freed, reused with a new
/// generation.
///
/// The geometry (base, floor, guard, largest_step, growth, name) is written by the owner while the
/// generation is even and read by faulting threads only after they saw it odd *and* pinned the
/// slot. A thread with a wild pointer may race with a reuse; it then reads words of the new tenant,
/// which is harmless: it validates the address against them.
struct alignas(128) SlotRecord {
  std::atomic<std::uintptr_t> base{0};   ///< highest address: where the stack starts
  std::atomic<std::uintptr_t> floor{0};  ///< lowest address that it may ever use
  std::atomic<std::uintptr_t> guard{0};  ///< lowest address of the slot
  /// Written by whoever commits (only ever lowered, by compare-and-swap) and by the owner's trim
  /// (raised, while nothing runs below it). A stale read costs one more fault, which is then found
  /// spurious.
  std::atomic<std::uintptr_t> limit{0};
  /// Lowest value `limit` ever had in this tenancy. Written with `limit`, read by anyone.
  std::atomic<std::uintptr_t> high_water{0};
  /// Bytes below `limit` in which a touch by a thread that runs elsewhere still counts as growth.
  std::atomic<std::size_t> largest_step{0};
  /// Odd while a stack lives here. The owner's publish() and retire() move it; everyone else only
  /// compares.
  std::atomic<std::uint32_t> generation{0};
  /// grown_mark, set by whoever lowers `limit`; the other bits are the owner's. publish() clears
  /// them all.
  std::atomic<std::uint32_t> marks{0};
  /// Growth faults of this tenancy. Written by faulting threads, read by anyone; only ever a
  /// statistic.
  std::atomic<std::uint32_t> growth_faults{0};
  /// Of these, the ones by a thread whose stack pointer was elsewhere.
  std::atomic<std::uint32_t> remote_growth_faults{0};
  /// Times that the stack was found deeper than any fault had told. Written by the owner, read by
  /// anyone.
  std::atomic<std::uint32_t> unseen_growth{0};
  /// How it grows.
  std::atomic<Growth> growth{Growth::by_fault};
  /// Range::owner, from publish() on.
  std::atomic<void*> owner{nullptr};
  /// For the owner: nothing here reads or writes it.
  std::atomic<std::size_t> charged_bytes{0};
  char name[max_name_length + 1] = {};  ///< for reports
};
/// The mark of a stack that has grown in this tenancy.
inline constexpr std::uint32_t grown_mark = 1U << 31U;
static_assert(sizeof(SlotRecord) == 128, "two cache lines: a million of them must stay affordable");

/// What a range's owner supplies. Every function may run in a signal handler: no locks, no
/// allocation.
struct Operations {
  /// The growth policy: which addresses to commit for a touch at `address`. Pure; never reaches
  /// below floor.
  Step (*plan)(const Range& range, const SlotRecord& slot, std::uintptr_t address) noexcept;
  /// Moves `step` from Reserved to Committed, in whichever thread `Range::committer` names. 0 or an
  /// errno. Idempotent.
  int (*commit)(const Range& range, const SlotRecord& slot, Step step) noexcept;
  /// The stack cannot grow: it reached its floor (`error` is 0) or commit failed with `error`. When
  /// it returns, the fault is forwarded as a foreign one would be, so that the process dies of the
  /// signal it always died of.
  void (*on_overflow)(const SlotRecord& slot, const Fault& fault, int error) noexcept;
};

/// A stretch of address space, aligned to `range_alignment`, cut into equal slots. Type-stable like
/// its slots, and for the life of the record tied to the same arrays: `slots[i]` and `pins[i]` are
/// always there to read, for every i < capacity.
struct Range {
  // Read without a lock by threads that look an address up, hence atomic; a torn mixture of two
  // tenancies can only lead to a slot that does not contain the address, which the look-up then
  // refuses.
  std::atomic<std::uintptr_t> begin{0};       ///< lowest address
  std::atomic<std::size_t> size{0};           ///< bytes
  std::atomic<std::uintptr_t> first_slot{0};  ///< its address
  std::atomic<std::size_t> slot_size{0};      ///< bytes
  std::atomic<std::uint64_t> reciprocal{
      0};  ///< of slot_size in pages: the slot index costs one multiplication
  std::atomic<std::uint32_t> slot_count{0};  ///< as many as there is room for

  // Constant from the moment a slot is published to the moment the last one is retired.
  const Operations* operations = nullptr;    ///< the owner's
  Committer committer = Committer::handler;  ///< which thread calls Operations::commit
  void* owner = nullptr;                     ///< for the operations
  const char* kind = "";                     ///< what its stacks are, for debuggers

  // Constant for the life of the record.
  SlotRecord* slots = nullptr;  ///< `capacity` of them
  /// Faulting threads at work in each slot: it may not be taken apart while this is above 0. In
  /// memory that a fork wipes, because the threads that would count down do not exist in the child.
  std::atomic<std::uint32_t>* pins = nullptr;
  std::uint32_t capacity = 0;  ///< slots at most, in any tenancy
  Range* next_free = nullptr;  ///< of the records that are not in use
};

/// range_alignment is 2 to the power of this.
inline constexpr unsigned range_shift = 26;
/// Ranges begin and end at multiples of this: 64 MiB, the unit of the flat table.
inline constexpr std::size_t range_alignment = std::size_t{1} << range_shift;

}  // namespace growstack::handler
