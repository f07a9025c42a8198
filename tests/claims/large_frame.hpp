// One function, compiled twice from large_frame.cpp.
#pragma once

#include <cstddef>

namespace growstack::testing {

inline constexpr std::size_t large_frame_bytes = std::size_t{512} * 1024;

/// Takes that much of the stack, and writes one byte at its lower end. The second one is compiled
/// with -fstack-clash-protection.
void large_frame();
void large_frame_that_probes();

}  // namespace growstack::testing
