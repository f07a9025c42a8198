// x86-64: where the interrupted registers are, what the page-fault error code says.
#pragma once

#include <growstack/handler/classify.hpp>

#include <sys/ucontext.h>

#include <cstdint>

namespace growstack::handler::machine {

/// Bytes below the stack pointer that a function may use without moving it (System V ABI, 3.2.2).
inline constexpr std::size_t red_zone_bytes = 128;

/// User space ends at 2^47; the upper half, and 5-level paging, are only handed out on request.
inline constexpr unsigned user_address_bits = 47;

inline std::uintptr_t stack_pointer(const ucontext_t& context) noexcept {
  return static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RSP]);
}

inline std::uintptr_t program_counter(const ucontext_t& context) noexcept {
  return static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RIP]);
}

// Bits of the page-fault error code, which the kernel copies to REG_ERR (Intel SDM vol. 3, 4.7).
inline bool page_present(const ucontext_t& context) noexcept {
  return (static_cast<std::uint64_t>(context.uc_mcontext.gregs[REG_ERR]) & 0x01U) != 0;
}

/// Whether the last trap of this thread was a general protection fault (vector 13), as an address
/// that is not canonical raises. Also true some time after one that the program survived: the
/// kernel leaves the number there when it raises a signal for another reason.
inline bool may_be_bad_address(const ucontext_t& context) noexcept {
  return context.uc_mcontext.gregs[REG_TRAPNO] == 13;
}

inline Access access(const ucontext_t& context) noexcept {
  const auto error = static_cast<std::uint64_t>(context.uc_mcontext.gregs[REG_ERR]);
  if ((error & 0x10U) != 0) {
    return Access::execute;
  }
  return (error & 0x02U) != 0 ? Access::write : Access::read;
}

}  // namespace growstack::handler::machine
