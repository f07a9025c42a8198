// The page size, which libc knows from the start without a system call, and rounding to it. Any
// thread, signal handlers included.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>

namespace growstack::handler {

/// Returns the bytes of a page. Any thread, signal handlers included.
[[nodiscard]] inline std::size_t page_size() noexcept {
  return static_cast<std::size_t>(getpagesize());
}

/// Returns where the page of an address begins. Any thread, signal handlers included.
[[nodiscard]] inline std::uintptr_t page_down(std::uintptr_t address) noexcept {
  return address & ~(page_size() - 1);
}

/// Returns where the next page begins, or the address itself if a page begins there. Any thread,
/// signal handlers included.
[[nodiscard]] inline std::uintptr_t page_up(std::uintptr_t address) noexcept {
  return page_down(address + page_size() - 1);
}

}  // namespace growstack::handler
