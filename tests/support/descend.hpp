// Using the running stack: one touch at a chosen address, or a whole descent that fills the stack
// with a pattern and verifies the pattern on the way back. Nothing here asserts, because these
// functions run on growable stacks, and a failing assertion would throw there.
#pragma once

#include "support/units.hpp"

#include <alloca.h>

#include <cstddef>
#include <cstdint>

namespace growstack::testing {

/// The frame address of the caller: close above its stack pointer.
#define GROWSTACK_HERE reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0))

/// Moves the stack pointer down to just above `address`, which lies in the running stack, and
/// writes one byte there: the first touch of everything in between.
void touch_in_one_jump(std::uintptr_t address, unsigned char value = 1);

/// Runs body() in a frame of its own, below all that the caller has allocated.
template <class Body>
[[gnu::noinline]] void in_own_frame(const Body& body) {
  body();
}

/// Runs body() with the stack pointer some bytes below `address`, which lies in the running stack,
/// and touches nothing in between.
template <class Body>
[[gnu::noinline]] __attribute__((no_sanitize("address"), no_sanitize("thread"))) void
at_stack_pointer(std::uintptr_t address, const Body& body) {
  void* const room = alloca(GROWSTACK_HERE - address);
  asm volatile("" : : "r"(room) : "memory");
  in_own_frame(body);
}

/// Calls itself, with a pattern in each frame, until less than `spare` bytes are left above
/// `address`, which lies in the running stack. Returns the number of bytes that had changed when it
/// came back: 0.
std::size_t descend_to(std::uintptr_t address, std::size_t spare = 4 * KiB);

/// Runs descend_to() to `depth` bytes below the caller.
inline std::size_t descend(std::size_t depth) { return descend_to(GROWSTACK_HERE - depth, 0); }

/// Moves the stack pointer below [begin, end), a part of the running stack that lies below
/// everything in use. Fills this part with a pattern that depends on the address, reads it back,
/// and returns the number of bytes that were wrong.
std::size_t fill_in_one_jump(std::uintptr_t begin, std::uintptr_t end);

}  // namespace growstack::testing
