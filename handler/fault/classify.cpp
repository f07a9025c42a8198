// Whose fault is it? Arithmetic on plain values; the header tells the rules.
#include <growstack/handler/classify.hpp>

#include "machine/machine.hpp"

#include <csignal>

namespace growstack::handler {

SlotView view(const SlotRecord& slot) noexcept {
  return {.base = slot.base.load(std::memory_order_relaxed),
          .floor = slot.floor.load(std::memory_order_relaxed),
          .guard = slot.guard.load(std::memory_order_relaxed),
          .limit = slot.limit.load(std::memory_order_acquire),
          .largest_step = slot.largest_step.load(std::memory_order_relaxed),
          .growth = slot.growth.load(std::memory_order_relaxed)};
}

bool may_be_lost_signal_frame(const Fault& fault) noexcept {
  return ThisMachine::may_be_lost_signal_frame(fault);
}

namespace {

bool grows_in_handler(Growth growth) noexcept {
  return growth == Growth::by_fault || growth == Growth::by_bus_error;
}

/// Returns whether an instruction touched memory that is not there, or not allowed. Otherwise
/// somebody sent the signal, or it is about a protection key, a tag, a bound, a broken memory cell.
bool is_touch(const Fault& fault) noexcept {
  return fault.signal == SIGBUS ? fault.code == BUS_ADRERR
                                : fault.code == SEGV_MAPERR || fault.code == SEGV_ACCERR;
}

/// Returns whether a touch of this slot's own memory raises this signal. The other signal is about
/// a mapping that the program made there itself. A guard raises SIGSEGV also where the stack raises
/// SIGBUS, because it may consist of other memory. What lies below the guard may raise either.
bool signal_matches_growth(const Fault& fault, const SlotView& slot) noexcept {
  const bool in_guard = fault.address < slot.floor;
  return (slot.growth == Growth::by_bus_error) == (fault.signal == SIGBUS) ||
         (in_guard && fault.signal == SIGSEGV) || fault.address < slot.guard;
}

/// Classifies a touch at or above the limit, where all is committed.
Outcome classify_committed(const Fault& fault, const SlotView& slot) noexcept {
  if (fault.page_present) {
    return Outcome::foreign;
  }
  switch (slot.growth) {
    case Growth::by_fault:
      return Outcome::spurious;
    case Growth::by_bus_error:
      return Outcome::discarded;
    default:
      return Outcome::foreign;
  }
}

/// Classifies a fault without an address, by the slot that the stack pointer is in.
Outcome classify_lost_frame(const SlotView& slot, std::uintptr_t stack_pointer,
                            std::size_t frame_bytes, bool on_this_stack) noexcept {
  // A non-canonical pointer looks the same. If it was one, the instruction faults again after we
  // made room, and then there is room: foreign.
  if (!on_this_stack || slot.growth == Growth::by_kernel) {
    return Outcome::foreign;
  }
  if (stack_pointer >= slot.limit + frame_bytes) {
    // All of it was committed, but somebody may have given a page of it back.
    return slot.growth == Growth::by_bus_error ? Outcome::discarded : Outcome::foreign;
  }
  return slot.limit > slot.floor ? Outcome::lost_signal_frame : Outcome::overflow;
}

}  // namespace

Outcome classify(const Fault& fault, const SlotView& slot, std::size_t frame_bytes,
                 bool ran_past_guard) noexcept {
  const std::uintptr_t stack_pointer = fault.stack_pointer;
  const bool on_this_stack = slot.guard <= stack_pointer && stack_pointer <= slot.base;

  if (may_be_lost_signal_frame(fault)) {
    return classify_lost_frame(slot, stack_pointer, frame_bytes, on_this_stack);
  }
  if (!is_touch(fault) || !signal_matches_growth(fault, slot)) {
    return Outcome::foreign;
  }
  if (fault.access == Access::execute || fault.address >= slot.base) {
    return Outcome::foreign;
  }
  if (fault.address >= slot.limit) {
    return classify_committed(fault, slot);
  }

  const bool runs_here = on_this_stack || (ran_past_guard && stack_pointer < slot.guard);
  const bool touches_own_frame =
      runs_here && fault.address + reach_below_stack_pointer >= stack_pointer;
  if (slot.growth == Growth::by_monitor && fault.address >= slot.floor) {
    return Outcome::foreign;  // the monitor fills what is missing, so the program forbade it
  }
  const bool past_the_end = fault.address < slot.floor || !grows_in_handler(slot.growth);
  if (past_the_end) {
    // What is there and forbidden is the program's: a guard has no pages. But a frame that took the
    // stack pointer below the floor has no business there, whatever it met.
    const bool is_forbidden = fault.page_present && stack_pointer >= slot.floor;
    return touches_own_frame && !is_forbidden ? Outcome::overflow : Outcome::foreign;
  }
  const bool near_the_limit = slot.limit - fault.address <= slot.largest_step;  // any size fits
  return touches_own_frame || (!runs_here && near_the_limit) ? Outcome::growth : Outcome::foreign;
}

}  // namespace growstack::handler
