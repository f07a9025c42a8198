// The library's own way into a Stack.
#pragma once

#include <growstack/stack.hpp>

#include "arena.hpp"

namespace growstack {

class StackAccess {
 public:
  static Place place(const Stack& stack) noexcept;
};

}  // namespace growstack
