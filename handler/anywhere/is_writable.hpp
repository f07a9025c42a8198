// Whether memory may be written to, asked of the kernel: no fault, no change.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace growstack::handler {

/// Returns whether the word at the address may be written to. FUTEX_WAKE_OP adds 0 to it. Changes
/// errno. Signal handlers included.
[[nodiscard]] inline bool is_writable(std::uintptr_t address) noexcept {
  std::uint32_t first = 0;
  const std::uintptr_t second = address & ~(alignof(std::uint32_t) - 1);
  return syscall(SYS_futex, &first, FUTEX_WAKE_OP_PRIVATE, 0, nullptr, second,
                 FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 0)) >= 0;
}

}  // namespace growstack::handler
