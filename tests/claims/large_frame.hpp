// One function, compiled twice from large_frame.cpp.
#pragma once

#include <cstddef>

namespace growstack::testing {

inline constexpr std::size_t large_frame_bytes = std::size_t{512} * 1024;

/// Take large_frame_bytes of the stack, and write one byte at the lower end. The second one is
/// compiled with -fstack-clash-protection.
void large_frame();
void large_frame_that_probes();

}  // namespace growstack::testing
