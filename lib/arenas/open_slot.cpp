#include "arenas/open_slot.hpp"

#include "arenas/arena.hpp"

#include <cerrno>

namespace growstack {

std::uintptr_t OpenSlot::limit() const noexcept {
  return implementation().limit(record(), arena().layout());
}

std::uintptr_t OpenSlot::high_water() const noexcept {
  return implementation().high_water(record(), arena().layout());
}

int OpenSlot::trim(std::uintptr_t keep_from) const noexcept {
  if (!implementation().description().trims) {
    return ENOTSUP;
  }
  const int error = implementation().trim(record(), arena().layout(), keep_from);
  arena().settle(record());
  return error;
}

}  // namespace growstack
