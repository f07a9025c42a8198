// System calls that touch no stack: no call of libc's, which would push its return address first.
#pragma once

#include "support/machine/machine.hpp"

#include <sys/syscall.h>

#include <cstddef>
#include <cstdint>

namespace growstack::testing {

using machine::bare_system_call;

/// read(2) and write(2) at an address that may be anybody's, or nobody's. They return a negative
/// errno for an error.
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
