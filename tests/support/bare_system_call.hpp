// A system call as one instruction: no call of libc's, which would push its return address and so
// touch the stack first.
#pragma once

#include <sys/syscall.h>

#include <cstddef>
#include <cstdint>

namespace growstack::testing {

#if !defined(__x86_64__)
#error "a bare system call is written for x86-64 only"
#endif

/// What the kernel returns: a negative errno for an error.
[[gnu::always_inline]] inline long bare_system_call(long number, long first, long second = 0,
                                                    long third = 0, long fourth = 0) {
  long result = number;
  register long in_r10 asm("r10") = fourth;
  asm volatile("syscall"
               : "+a"(result)
               : "D"(first), "S"(second), "d"(third), "r"(in_r10)
               : "rcx", "r11", "memory");
  return result;
}

/// read(2) and write(2) at an address that may be anybody's, or nobody's.
[[gnu::always_inline]] inline long bare_read(int descriptor, std::uintptr_t address,
                                             std::size_t bytes) {
  return bare_system_call(SYS_read, descriptor, static_cast<long>(address),
                          static_cast<long>(bytes));
}
[[gnu::always_inline]] inline long bare_write(int descriptor, std::uintptr_t address,
                                              std::size_t bytes) {
  return bare_system_call(SYS_write, descriptor, static_cast<long>(address),
                          static_cast<long>(bytes));
}

}  // namespace growstack::testing
