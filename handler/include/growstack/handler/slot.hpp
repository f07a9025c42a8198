// What the fault path knows of a stack: its slot, the range that the slot lies in, and the
// operations of that range.
//
// The picture, used by every name in this library (addresses fall from top to bottom):
//
//     high addresses
//       base        highest address of a stack: where it starts
//         committed     readable and writable, may or may not be resident yet
//       limit       lowest committed address: moves down as the stack grows, up as it is trimmed
//         uncommitted   reserved address space: a touch here is a growth fault
//       floor       lowest address the stack may ever use
//         guard         never committed by growth: a touch here is overflow
//       guard       lowest address of the slot
//     low addresses
//
// Nothing here knows of stacks as objects, of pools or of strategies. Those are words of lib/.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace growstack::handler {

struct Fault;
struct Range;

/// Holds the addresses [begin, end), page aligned, that one growth commits. Empty if begin == end.
struct Step {
  std::uintptr_t begin = 0;  ///< lowest address
  std::uintptr_t end = 0;    ///< first address that is not in it
};

/// Names who makes uncommitted memory usable at a touch.
enum class Growth : std::uint8_t {
  by_fault,      ///< our fault path, told by SIGSEGV (PROT_NONE, guard markers)
  by_bus_error,  ///< our fault path, told by SIGBUS (userfaultfd with UFFD_FEATURE_SIGBUS)
  by_monitor,    ///< our monitor thread, told by userfaultfd: no signal is raised (userfault.hpp)
  by_kernel,     ///< the kernel on its own (demand paging, MAP_GROWSDOWN)
};

/// Names the thread that calls Operations::commit after a growth fault that raised a signal. Only a
/// growth fault asks for it: see Operations::commit for the other callers.
enum class Committer : std::uint8_t {
  handler,  ///< the thread that faulted, in the signal handler
  helper,  ///< the helper thread, at the other end of the pipe; if it is missing or gives no answer
           ///< in time, the thread that faulted
};

/// Tells what becomes of a fault after Operations::on_overflow.
enum class Disposition : std::uint8_t {
  forward,  ///< it is forwarded as a foreign fault is, so that the process dies as it always did
};

/// The longest stack name that is kept, in bytes without the terminating zero.
inline constexpr std::size_t max_name_length = 39;

/// Describes one stack as the fault path sees it. Records are type-stable: they are never freed,
/// but reused with a new generation.
///
/// The owner writes the geometry (base, floor, guard, largest_step, growth, name) while the
/// generation is even. Faulting threads read it after they saw the generation odd *and* pinned the
/// slot. A thread with a wild pointer may race with a reuse. It then reads words of the new tenant,
/// which is harmless, because it checks the address against them.
struct alignas(128) SlotRecord {
  std::atomic<std::uintptr_t> base{0};   ///< highest address: where the stack starts
  std::atomic<std::uintptr_t> floor{0};  ///< lowest address that the stack may ever use
  std::atomic<std::uintptr_t> guard{0};  ///< lowest address of the slot
  /// Lowest committed address. Written by whoever commits (only ever lowered, by compare-and-swap)
  /// and by the owner's trim (raised, while nothing runs below it). A stale read costs one more
  /// fault, which is then found spurious.
  std::atomic<std::uintptr_t> limit{0};
  /// The lowest value that `limit` had in this tenancy. Written with `limit`, read by anyone.
  std::atomic<std::uintptr_t> high_water{0};
  /// Bytes below `limit` in which a touch by a thread that runs elsewhere still counts as growth.
  /// For stacks on userfaultfd, lib/ also fills at most this much with memory in one commit
  /// (UserfaultFilled::commit).
  std::atomic<std::size_t> largest_step{0};
  /// Odd while a stack lives here. publish() and retire() raise it; everyone else only compares.
  std::atomic<std::uint32_t> generation{0};
  /// `grown_mark` and `left_below_mark`, set by whoever lowers `limit`. The other bits are the
  /// owner's; the handler reads only `trimming_mark`. publish() clears all of them.
  std::atomic<std::uint32_t> marks{0};
  /// Growth faults of this tenancy. Written by faulting threads, read by anyone; only ever a
  /// statistic.
  std::atomic<std::uint32_t> growth_faults{0};
  /// Growth faults of this tenancy by a thread whose stack pointer was elsewhere.
  std::atomic<std::uint32_t> remote_growth_faults{0};
  /// How often the stack was found deeper than any fault had told. Written by the owner, read by
  /// anyone.
  std::atomic<std::uint32_t> unseen_growth{0};
  /// How the stack grows.
  std::atomic<Growth> growth{Growth::by_fault};
  /// A copy of Range::owner; publish() sets it.
  std::atomic<void*> owner{nullptr};
  /// The owner's: what it charged for the slot. Nothing in the handler library reads or writes it.
  std::atomic<std::size_t> charged_bytes{0};
  char name[max_name_length + 1] = {};  ///< for reports, with a terminating zero
};
/// The bit of SlotRecord::marks that says that the stack has grown in this tenancy.
inline constexpr std::uint32_t grown_mark = 1U << 31U;
/// The bit of SlotRecord::marks that says that the owner is taking memory of the stack away. While
/// it is set, no growth lowers the limit.
inline constexpr std::uint32_t trimming_mark = 1U << 30U;
/// The bit of SlotRecord::marks that says that memory may be committed below the limit: a trim
/// failed, or the stack grew meanwhile. The next trim takes it.
inline constexpr std::uint32_t left_below_mark = 1U << 29U;
static_assert(sizeof(SlotRecord) == 128, "two cache lines: a million of them must stay affordable");

/// Tells how the stacks of a range grow and how they end. The range's owner supplies it. Every
/// function may run in a signal handler, so it takes no lock and allocates nothing. The table must
/// stay for ever once a range has it, because a fault may still use it after the range was removed.
struct Operations {
  /// Returns which addresses to commit for a touch at `address`: the growth policy. Pure. Never
  /// returns addresses below the floor.
  ///
  /// A step counts only if `address` lies in it. Any other step declines, an empty one too. Then
  /// the fault is done if the limit is at or below `address` by now, because another thread was
  /// first. Otherwise plan() is asked again. If it declines twice in a row, and the limit changed
  /// neither time while it looked, the fault ends in on_overflow() with EDOM.
  Step (*plan)(const Range& range, const SlotRecord& slot, std::uintptr_t address) noexcept;

  /// Makes `step` readable and writable. Idempotent. Returns 0 or an errno.
  ///
  /// Usually the thread that Range::committer names calls it. The thread that faulted calls it if
  /// the helper is missing, and for a page that was given back to the kernel. The monitor thread
  /// calls it for Growth::by_monitor, and commit_ahead() calls it in its own caller's thread. Two
  /// threads may call it for one slot at once.
  int (*commit)(const Range& range, const SlotRecord& slot, Step step) noexcept;

  /// Called when the stack cannot grow. `context` is the ucontext_t of the signal handler, with the
  /// interrupted registers. `error` is 0 if the stack reached its floor, EDOM if plan() declined,
  /// otherwise the errno of commit(). Returns what becomes of the fault.
  ///
  /// The slot is not pinned any more, so that on_overflow() may leave by siglongjmp(3). The record
  /// stays readable, but if the owner retires the slot meanwhile, it may describe the next stack:
  /// act on nothing that is read from it.
  Disposition (*on_overflow)(const SlotRecord& slot, const Fault& fault, void* context,
                             int error) noexcept;
};

/// Describes address space, aligned to `range_alignment`, that is cut into equal slots. Ranges are
/// type-stable as their slots are, and a record keeps the same arrays for its life: `slots[i]` and
/// `pins[i]` are always there to read, for every i < capacity.
struct Range {
  // Read without a lock by threads that look an address up, hence atomic. A torn mixture of two
  // tenancies can only lead to a slot that does not contain the address, which the look-up refuses.
  std::atomic<std::uintptr_t> begin{0};       ///< lowest address
  std::atomic<std::size_t> size{0};           ///< bytes
  std::atomic<std::uintptr_t> first_slot{0};  ///< address of the first slot
  std::atomic<std::size_t> slot_size{0};      ///< bytes
  /// Of slot_size in pages, so that the number of a slot costs one multiplication and one shift.
  std::atomic<std::uint64_t> reciprocal{0};
  std::atomic<unsigned> reciprocal_shift{0};  ///< by which the product is shifted right
  std::atomic<std::uint32_t> slot_count{0};   ///< as many slots as there is room for

  // Constant from the moment a slot is published to the moment the last one is retired.
  const Operations* operations = nullptr;    ///< the owner's
  Committer committer = Committer::handler;  ///< which thread commits after a growth fault
  void* owner = nullptr;                     ///< for the operations
  const char* kind = "";                     ///< what its stacks are, for debuggers

  // Constant for the life of the record.
  SlotRecord* slots = nullptr;  ///< `capacity` of them
  /// How many faulting threads are at work in each slot. A slot may not be taken apart while this
  /// is above 0. A fork wipes this memory, because the threads that would count down do not exist
  /// in the child.
  std::atomic<std::uint32_t>* pins = nullptr;
  std::uint32_t capacity = 0;  ///< slots at most, in any tenancy
  Range* next_free = nullptr;  ///< the next of the records that are not in use
};

/// range_alignment is 2 to the power of this.
inline constexpr unsigned range_shift = 26;
/// Ranges begin and end at multiples of this: 64 MiB, the unit of the flat table.
inline constexpr std::size_t range_alignment = std::size_t{1} << range_shift;

}  // namespace growstack::handler
