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

bool OpenSlot::is_running() const noexcept {
  return (record_->marks.load(std::memory_order_acquire) & running_mark) != 0 &&
         runner().exists();
}

bool OpenSlot::has_frames_of_caller() const noexcept {
  auto at = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  if (!is_running()) {
    return contains(at);
  }
  constexpr int most_nested_calls = 1000;
  for (int depth = 0; depth < most_nested_calls; ++depth) {
    if (contains(at)) {
      return true;
    }
    const OpenSlot there = Arena::slot_at(at);
    if (!there || !there.is_running()) {
      break;
    }
    at = there.runner().caller;
  }
  return false;
}

}  // namespace growstack
