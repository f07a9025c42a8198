// Calls that need stack, compiled twice from one source: with -fsplit-stack and without.
#pragma once

#include <cstddef>
#include <cstdint>

namespace growstack::split_stack {

struct Recursion {
  /// Calls itself so many times, with a frame of some 200 bytes each, and comes back.
  int (*descend)(std::size_t frames);
  /// Bytes of stack that one call of descend takes.
  std::size_t (*bytes_per_frame)();
  /// Runs body(argument) under so many small frames.
  int (*at_depth)(std::size_t frames, void (*body)(void*), void* argument);
  /// Calls a function that does next to nothing, so many times.
  void (*call_often)(std::size_t times);
};

extern const Recursion split;
extern const Recursion plain;

}  // namespace growstack::split_stack
