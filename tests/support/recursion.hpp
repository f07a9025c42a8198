// Recursion that the optimizer leaves alone.
#pragma once

#include "support/sanitized.hpp"

#include <cstddef>

namespace growstack::testing {

/// Makes the optimizer believe that all of an array is used.
inline void keep(const volatile void* array) { asm volatile("" : : "r"(array) : "memory"); }

/// Runs `then` below `frames` frames of some 250 bytes each, and returns their number.
template <class Then>
[[gnu::noinline]] std::size_t below_frames(std::size_t frames, const Then& then) {
  volatile char room[192];
  keep(room);
  room[0] = static_cast<char>(frames);
  if (frames == 0) {
    then();
    return 0;
  }
  const std::size_t deeper = below_frames(frames - 1, then);
  return deeper + 1 + static_cast<std::size_t>(room[0] != static_cast<char>(frames));
}

/// A depth of some 25 MiB, in frames. ThreadSanitizer's own stack of calls has room for fewer.
inline constexpr std::size_t deep = under_thread_sanitizer ? 20'000 : 100'000;

/// Calls itself `frames` times, and returns that number.
[[gnu::noinline]] inline std::size_t recurse(std::size_t frames) {
  return below_frames(frames, [] {});
}

}  // namespace growstack::testing
