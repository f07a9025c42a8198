// Whose fault is it? The whole decision, as one pure function of plain values: tested without a
// signal.
#pragma once

#include <growstack/handler/slot.hpp>

#include <csignal>
#include <cstddef>
#include <cstdint>

#pragma GCC visibility push(default)  // exported from a shared library

namespace growstack::handler {

/// What the instruction did there.
enum class Access : std::uint8_t { read, write, execute };

/// What the kernel told about a SIGSEGV or SIGBUS, in plain values.
struct Fault {
  int signal = SIGSEGV;                ///< or SIGBUS
  std::uintptr_t address = 0;          ///< si_addr
  std::uintptr_t stack_pointer = 0;    ///< of the interrupted code
  std::uintptr_t program_counter = 0;  ///< of the interrupted code
  int code = 0;                        ///< si_code
  Access access = Access::read;        ///< as far as the CPU tells
  bool may_be_bad_address =
      false;  ///< the CPU may have refused the address itself: then the kernel cannot tell it
  bool page_present = false;  ///< the page was there and forbade the access (so it was not one that
                              ///< growth would mend)
};

/// What a fault turns out to be.
enum class Outcome : std::uint8_t {
  growth,     ///< commit and resume
  overflow,   ///< the stack reached its floor
  spurious,   ///< another thread committed it first: resume
  discarded,  ///< committed, but somebody gave the page back to the kernel (MADV_DONTNEED): fill it
              ///< again and resume
  lost_signal_frame,  ///< the kernel found no room for a signal's frame: commit room and resume;
                      ///< that signal is gone
  foreign,            ///< not ours: forward
};

/// A slot's words, read once.
struct SlotView {
  std::uintptr_t base = 0;           ///< see SlotRecord
  std::uintptr_t floor = 0;          ///< see SlotRecord
  std::uintptr_t guard = 0;          ///< see SlotRecord
  std::uintptr_t limit = 0;          ///< see SlotRecord
  std::size_t largest_step = 0;      ///< see SlotRecord
  Growth growth = Growth::by_fault;  ///< see SlotRecord
};

/// Reads them. Any thread, signal handlers included.
[[nodiscard]] SlotView view(const SlotRecord& slot) noexcept;

/// How far below its own stack pointer code may touch the stack and still be growing it, in bytes.
/// Compilers touch a frame above the stack pointer; hand-written prologues and the kernel's old
/// rule allowed a little below.
inline constexpr std::size_t reach_below_stack_pointer = std::size_t{64} * 1024;

/// True if the fault, by its si_code alone, may be the kernel's word that a signal frame did not
/// fit.
[[nodiscard]] bool may_be_lost_signal_frame(const Fault& fault) noexcept;

/// Classifies a fault against the slot that contains its address, or, if
/// may_be_lost_signal_frame(), the one that contains its stack pointer. `ran_past_guard`: the stack
/// pointer is in the same range but in no live slot, where no code can be running unless a frame
/// larger than the guard took it there. Pure; any thread, signal handlers included.
[[nodiscard]] Outcome classify(const Fault& fault, const SlotView& slot, std::size_t frame_bytes,
                               bool ran_past_guard) noexcept;

}  // namespace growstack::handler

#pragma GCC visibility pop
