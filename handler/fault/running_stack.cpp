#include "fault/running_stack.hpp"

#include <growstack/handler/is_readable.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/handler/ranges.hpp>

#include "anywhere/is_writable.hpp"

#include <csignal>

namespace growstack::handler {
namespace {

/// Returns whether no page of [begin, end) may be written to.
bool is_nobodys_stack(std::uintptr_t begin, std::uintptr_t end) noexcept {
  for (std::uintptr_t page = page_down(begin); page < end; page += page_size()) {
    if (is_writable(page)) {
      return false;
    }
  }
  return true;
}

/// Returns the stack that a frame has left by its floor, over the guard, so that the stack pointer
/// lies in no stack now: the next stack above, if nothing lies between. Otherwise the code runs on
/// a stack of somebody else's, which happens to end there.
const SlotRecord* stack_left_behind(std::uintptr_t stack_pointer) noexcept {
  const SlotRecord* const above = live_slot_above(stack_pointer, reach_below_stack_pointer);
  return above != nullptr && is_nobodys_stack(stack_pointer, view(*above).guard) ? above : nullptr;
}

}  // namespace

/// Just below the stack pointer, because a stack pointer is an end.
const SlotRecord* running_stack(std::uintptr_t stack_pointer) noexcept {
  const SlotRecord* const there = live_slot(stack_pointer - 1);
  return there != nullptr ? there : stack_left_behind(stack_pointer);
}

namespace {

/// Returns whether a touch below the floor of the running stack is the end of that stack, and not
/// an access to something else that happens to lie there. A stack ends where it is used up, and by
/// a frame that took the stack pointer below its floor.
bool is_end_of(const SlotView& own, const Fault& fault) noexcept {
  const bool has_left = fault.stack_pointer < own.floor;
  const bool is_used_up = has_left || own.limit <= own.floor;
  if (const SlotRecord* const there = live_slot(fault.address); there != nullptr) {
    // What another stack has committed may be missing all the same: given back, or just filled.
    return is_used_up && fault.address < view(*there).limit;
  }
  // Otherwise it may be the program's own memory, and its own business.
  return has_left || in_some_slot(fault.address) ||
         (is_used_up && fault.signal == SIGSEGV && !fault.page_present &&
          !is_readable(fault.address));
}

}  // namespace

std::uintptr_t address_to_judge_by(const Fault& fault, const SlotRecord* runs_on) noexcept {
  if (may_be_lost_signal_frame(fault)) {
    return fault.stack_pointer - 1;
  }
  if (runs_on == nullptr) {
    return fault.address;
  }
  const SlotView own = view(*runs_on);
  const bool below_own =
      fault.address < own.floor && fault.address + reach_below_stack_pointer >= fault.stack_pointer;
  const bool in_own_guard = own.guard <= fault.address;
  return below_own && (in_own_guard || is_end_of(own, fault)) ? own.base - 1 : fault.address;
}

}  // namespace growstack::handler
