// Whether memory may be read, asked of the kernel without a fault.
#pragma once

#include <growstack/export.hpp>

#include <cstdint>

namespace growstack::handler {

/// Returns whether a system call could read at an address. The kernel supplies the memory as it
/// would for any system call, and grows what it grows by itself. One system call; keeps errno. Any
/// thread, signal handlers included.
[[nodiscard]] GROWSTACK_EXPORT bool is_readable(std::uintptr_t address) noexcept;

}  // namespace growstack::handler
