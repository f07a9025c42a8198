// Calls that need stack. Their source is compiled twice: with -fsplit-stack and without.
#pragma once

#include <cstddef>
#include <cstdint>

namespace growstack::split_stack {

struct Recursion {
  /// Calls itself so often, with frames of some 200 bytes, and comes back.
  int (*descend)(std::size_t frames);
  /// Returns how many bytes of stack one call of descend takes.
  std::size_t (*bytes_per_frame)();
  /// Runs body(argument) under so many small frames.
  int (*at_depth)(std::size_t frames, void (*body)(void*), void* argument);
  /// Calls a function so often that does next to nothing.
  void (*call_often)(std::size_t times);
};

extern const Recursion split;
extern const Recursion plain;

}  // namespace growstack::split_stack
