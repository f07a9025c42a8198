// The page size, which libc knows from the start (no system call), and rounding to it. Usable in a
// signal handler.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>

namespace growstack::handler {

/// Bytes of a page.
inline std::size_t page_size() noexcept { return static_cast<std::size_t>(getpagesize()); }

/// Where the page of an address begins.
inline std::uintptr_t page_down(std::uintptr_t address) noexcept {
  return address & ~(page_size() - 1);
}
/// Where the next page begins, unless the address is the beginning of one.
inline std::uintptr_t page_up(std::uintptr_t address) noexcept {
  return page_down(address + page_size() - 1);
}

}  // namespace growstack::handler
