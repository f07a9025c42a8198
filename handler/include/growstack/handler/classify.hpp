// Whose fault is it? The whole decision is one pure function of plain values, so it can be tested
// without a signal.
#pragma once

#include <growstack/export.hpp>
#include <growstack/handler/slot.hpp>

#include <csignal>
#include <cstddef>
#include <cstdint>

namespace growstack::handler {

/// Tells what the faulting instruction did.
enum class Access : std::uint8_t { read, write, execute };

/// Holds what the kernel told about a SIGSEGV or SIGBUS, in plain values.
struct Fault {
  int signal = SIGSEGV;                ///< SIGSEGV or SIGBUS
  std::uintptr_t address = 0;          ///< si_addr
  std::uintptr_t stack_pointer = 0;    ///< of the interrupted code
  std::uintptr_t program_counter = 0;  ///< of the interrupted code
  int code = 0;                        ///< si_code
  Access access = Access::read;        ///< as far as the processor tells
  /// The processor may have refused the address itself. Then the kernel cannot tell the address.
  bool may_be_bad_address = false;
  /// The page was there and forbade the access. Then growth would not mend it.
  bool page_present = false;
};

/// Tells what a fault turns out to be.
enum class Outcome : std::uint8_t {
  growth,     ///< commit and resume
  overflow,   ///< the stack reached its floor, or a frame went beyond it
  spurious,   ///< another thread committed it first: resume
  discarded,  ///< committed, but somebody gave the page back to the kernel (MADV_DONTNEED): fill it
              ///< (if there is no address: those that a signal's frame needs, if they are missing)
              ///< again and resume
  lost_signal_frame,  ///< the kernel found no room for a signal's frame: commit room and resume;
                      ///< that signal is gone
  foreign,            ///< not ours: forward
};

/// Holds a slot's words, read once.
struct SlotView {
  std::uintptr_t base = 0;   ///< highest address: where the stack starts
  std::uintptr_t floor = 0;  ///< lowest address that the stack may ever use
  std::uintptr_t guard = 0;  ///< lowest address of the slot
  std::uintptr_t limit = 0;  ///< lowest committed address
  /// Bytes below `limit` in which a touch by a thread that runs elsewhere still counts as growth.
  std::size_t largest_step = 0;
  Growth growth = Growth::by_fault;  ///< who makes uncommitted memory usable at a touch
};

/// Reads a slot's words. Any thread, signal handlers included.
[[nodiscard]] GROWSTACK_EXPORT SlotView view(const SlotRecord& slot) noexcept;

/// How far below its own stack pointer code may touch the stack and still grow it, in bytes.
///
/// Most compiled code moves the stack pointer first and touches afterwards. Some code probes first:
/// a Java virtual machine touches its stack 84 KiB below the stack pointer and deeper, and gcc's
/// -fstack-clash-protection touches each page of a large frame. Linux itself has had no bound since
/// 5.0. We keep one, because a touch that is further away is more likely a wild pointer.
inline constexpr std::size_t reach_below_stack_pointer = std::size_t{1024} * 1024;

/// Returns true if the fault, by its si_code and address alone, may be the kernel's word that a
/// signal frame did not fit. Any thread, signal handlers included.
[[nodiscard]] GROWSTACK_EXPORT bool may_be_lost_signal_frame(const Fault& fault) noexcept;

/// Classifies a fault against one slot. That is the slot that contains its stack pointer if the
/// address lies below that slot's floor, or if may_be_lost_signal_frame(); otherwise it is the slot
/// that contains its address. `frame_bytes` is signal_frame_bytes(). `ran_past_guard` says that the
/// stack pointer is below this slot and in no other one: no code can run there unless a frame
/// larger than the guard took it there. Pure; any thread, signal handlers included.
[[nodiscard]] GROWSTACK_EXPORT Outcome classify(const Fault& fault, const SlotView& slot,
                                                std::size_t frame_bytes,
                                                bool ran_past_guard) noexcept;

}  // namespace growstack::handler
