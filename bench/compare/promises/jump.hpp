// The same function by two compilers' habits: one probes each page of a large frame, one does not.
#pragma once

#include <cstddef>

namespace growstack::compare::promises {

/// Makes a frame of `bytes` and writes to its lowest byte; then calls arrived().
void jump_unprobed(std::size_t bytes, void (*arrived)());
void jump_probed(std::size_t bytes, void (*arrived)());

}  // namespace growstack::compare::promises
