// Which stack the interrupted code runs on, and by which stack its fault is judged.
#pragma once

#include <growstack/handler/classify.hpp>
#include <growstack/handler/slot.hpp>

#include <cstdint>

namespace growstack::handler {

/// Returns the stack that code with this stack pointer runs on, or that it has just left by the
/// floor; null if that is none of ours. Pins nothing. Signal handlers included.
[[nodiscard]] const SlotRecord* running_stack(std::uintptr_t stack_pointer) noexcept;

/// Returns an address in the stack by which a fault is judged. Code that touches what lies below
/// the floor of its own stack overflows that stack, if the stack is used up, or if its guard or a
/// slot without a stack lies there. Otherwise the code uses the stack of another one, or memory of
/// the program, and that has nothing to do with its own stack. If the kernel gave no address, only
/// the stack pointer tells. Otherwise it is the stack that was touched. Signal handlers included.
[[nodiscard]] std::uintptr_t address_to_judge_by(const Fault& fault,
                                                 const SlotRecord* runs_on) noexcept;

}  // namespace growstack::handler
