// The library's own way into a Stack.
#pragma once

#include "arenas/open_slot.hpp"

#include <growstack/stack.hpp>

namespace growstack {

class StackAccess {
 public:
  static OpenSlot slot(const Stack& stack) noexcept { return OpenSlot(stack.slot_); }
  static Stack stack_in(OpenSlot slot) noexcept { return Stack(&slot.record()); }
};

}  // namespace growstack
