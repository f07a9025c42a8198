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
          .reach = slot.reach.load(std::memory_order_relaxed),
          .growth = slot.growth.load(std::memory_order_relaxed)};
}

std::size_t signal_frame_bytes() noexcept {
  // Kernels before 5.14 do not tell; 2 KiB was the constant then.
  const unsigned long told = getauxval(AT_MINSIGSTKSZ);
  return machine::red_zone_bytes + (told != 0 ? told : 2048);
}

bool may_be_lost_signal_frame(const Fault& fault) noexcept { return fault.code == SI_KERNEL && fault.address == 0; }

Outcome classify(const Fault& fault, const SlotView& slot, std::size_t frame_bytes, bool ran_past_guard) noexcept {
  const std::uintptr_t stack_pointer = fault.stack_pointer;
  const bool on_this_stack = slot.guard <= stack_pointer && stack_pointer <= slot.base;

  if (may_be_lost_signal_frame(fault)) {
    // A non-canonical pointer looks the same. If that is what it was, the instruction faults again after we made room,
    // and then there is room: foreign.
    if (!on_this_stack || slot.growth != Growth::by_fault || stack_pointer >= slot.limit + frame_bytes) {
      return Outcome::foreign;
    }
    return slot.limit > slot.floor ? Outcome::lost_signal_frame : Outcome::overflow;
  }

  if (fault.code != SEGV_MAPERR && fault.code != SEGV_ACCERR) {
    return Outcome::foreign;  // sent by somebody, a protection key, a tag, a bound
  }
  if (fault.access == Access::execute || fault.address < slot.guard || fault.address >= slot.base) {
    return Outcome::foreign;
  }
  if (fault.address >= slot.limit) {
    return slot.growth == Growth::by_fault && !fault.page_present ? Outcome::spurious : Outcome::foreign;
  }

  const bool runs_here = on_this_stack || (ran_past_guard && stack_pointer < slot.guard);
  const bool touches_own_frame = runs_here && fault.address + reach_below_stack_pointer >= stack_pointer;
  const bool past_the_end = fault.address < slot.floor || slot.growth == Growth::by_kernel;
  if (past_the_end) {
    return touches_own_frame ? Outcome::overflow : Outcome::foreign;
  }
  const bool near_the_limit = fault.address + slot.reach >= slot.limit;
  return touches_own_frame || (!runs_here && near_the_limit) ? Outcome::growth : Outcome::foreign;
}

}  // namespace growstack::handler
