// The page size, asked for once, and rounding to it. Usable in a signal handler after the first call.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>

namespace growstack::handler {

inline std::size_t page_size() noexcept {
  static const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

inline std::uintptr_t page_down(std::uintptr_t address) noexcept { return address & ~(page_size() - 1); }
inline std::uintptr_t page_up(std::uintptr_t address) noexcept { return page_down(address + page_size() - 1); }

}  // namespace growstack::handler
