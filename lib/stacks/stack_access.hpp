// The library's own way into a Stack.
#pragma once

#include <growstack/stack.hpp>

#include "arenas/arena.hpp"

namespace growstack {

class StackAccess {
 public:
  static Place place(const Stack& stack) noexcept { return Place(stack.slot_); }
  static Stack stack_at(Place place) noexcept { return Stack(place.record()); }
};

}  // namespace growstack
