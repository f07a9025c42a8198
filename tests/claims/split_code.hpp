// Calls that need stack, compiled twice from split_code.cpp: with gcc's -fsplit-stack and without.
#pragma once

#include <cstddef>
#include <cstdint>

namespace growstack::testing {

struct SplitCode {
  /// Calls body(argument) below `frames` small frames.
  int (*at_depth)(std::size_t frames, void (*body)(void*), void* argument);
  /// Returns where its frame lies, and does nothing else.
  std::uintptr_t (*leaf)();
  /// Calls leaf() `times` times.
  void (*call_leaf)(std::size_t times);
};

extern const SplitCode split;
extern const SplitCode plain;

}  // namespace growstack::testing
