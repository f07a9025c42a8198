// Addresses as numbers.
#pragma once

#include <cstdint>

namespace growstack::testing {

/// Returns the address that a pointer holds.
[[nodiscard]] inline std::uintptr_t address_of(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

}  // namespace growstack::testing
