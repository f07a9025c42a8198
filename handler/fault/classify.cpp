#include <growstack/handler/classify.hpp>

#include "machine/machine.hpp"

#include <sys/auxv.h>

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

std::size_t signal_frame_bytes() noexcept {
  // Kernels before 5.14 do not tell; 2 KiB was the constant then.
  const unsigned long told = getauxval(AT_MINSIGSTKSZ);
  return machine::red_zone_bytes + (told != 0 ? told : 2048);
}

bool may_be_lost_signal_frame(const Fault& fault) noexcept {
  return fault.signal == SIGSEGV && fault.code == SI_KERNEL && fault.address == 0;
}

namespace {

bool grows_in_handler(Growth growth) noexcept {
  return growth == Growth::by_fault || growth == Growth::by_bus_error;
}

/// Raised by a touch of memory that is not there, or not allowed; not sent by somebody, nor for a
/// protection key, a tag, a bound, a broken memory cell.
bool is_touch(const Fault& fault) noexcept {
  return fault.signal == SIGBUS ? fault.code == BUS_ADRERR
                                : fault.code == SEGV_MAPERR || fault.code == SEGV_ACCERR;
}

/// A signal of the other kind is about a mapping that the program made there itself. A guard may be
/// made of other stuff than the stack.
bool is_told_so(const SlotView& slot, const Fault& fault) noexcept {
  const bool in_guard = fault.address < slot.floor;
  return (slot.growth == Growth::by_bus_error) == (fault.signal == SIGBUS) ||
         (in_guard && fault.signal == SIGSEGV);
}

/// At or above the limit, where all is committed.
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

}  // namespace

Outcome classify(const Fault& fault, const SlotView& slot, std::size_t frame_bytes,
                 bool ran_past_guard) noexcept {
  const std::uintptr_t stack_pointer = fault.stack_pointer;
  const bool on_this_stack = slot.guard <= stack_pointer && stack_pointer <= slot.base;

  if (may_be_lost_signal_frame(fault)) {
    // A non-canonical pointer looks the same. If that is what it was, the instruction faults again
    // after we made room, and then there is room: foreign.
    if (!on_this_stack || slot.growth == Growth::by_kernel ||
        stack_pointer >= slot.limit + frame_bytes) {
      return Outcome::foreign;
    }
    return slot.limit > slot.floor ? Outcome::lost_signal_frame : Outcome::overflow;
  }

  if (!is_touch(fault) || !is_told_so(slot, fault)) {
    return Outcome::foreign;
  }
  if (fault.access == Access::execute || fault.address < slot.guard || fault.address >= slot.base) {
    return Outcome::foreign;
  }
  if (fault.address >= slot.limit) {
    return classify_committed(fault, slot);
  }

  const bool runs_here = on_this_stack || (ran_past_guard && stack_pointer < slot.guard);
  const bool touches_own_frame =
      runs_here && fault.address + reach_below_stack_pointer >= stack_pointer;
  const bool past_the_end = fault.address < slot.floor || !grows_in_handler(slot.growth);
  if (past_the_end) {
    return touches_own_frame ? Outcome::overflow : Outcome::foreign;
  }
  const bool near_the_limit = fault.address + slot.largest_step >= slot.limit;
  return touches_own_frame || (!runs_here && near_the_limit) ? Outcome::growth : Outcome::foreign;
}

}  // namespace growstack::handler
