// The stack pointer of the running code.
#pragma once

#include <cstdint>

namespace growstack::handler {

/// Returns the stack pointer of the function that this is inlined into, or an address above it
/// within that function's frame, where the compiler cannot tell better. Costs one instruction. Any
/// thread, signal handlers included.
[[nodiscard, gnu::always_inline]] inline std::uintptr_t stack_pointer() noexcept {
#if defined(__x86_64__)
  // The address of the frame would make the function keep a frame pointer, which costs 16 bytes of
  // each frame. The address of a variable may lie in a fake stack of AddressSanitizer.
  std::uintptr_t address;
  asm volatile("mov %%rsp, %0" : "=r"(address));
  return address;
#else
  return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
#endif
}

}  // namespace growstack::handler
