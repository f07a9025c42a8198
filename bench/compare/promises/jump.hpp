// The same function with the habits of two compilers: one probes each page of a large frame, the
// other moves the stack pointer past whatever lies between.
#pragma once

#include <cstddef>
#include <cstdint>

namespace growstack::compare::promises {

/// Makes a frame of `bytes` and writes to its lowest byte. Returns the address of that byte.
std::uintptr_t jump_probed(std::size_t bytes);
std::uintptr_t jump_unprobed(std::size_t bytes);

}  // namespace growstack::compare::promises
