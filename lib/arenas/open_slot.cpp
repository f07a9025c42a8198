#include "arenas/open_slot.hpp"

#include "arenas/arena.hpp"
#include "memory/vm.hpp"

#include <cerrno>

namespace growstack {

std::uintptr_t OpenSlot::limit() const noexcept {
  return implementation().limit(record(), arena().layout());
}

std::uintptr_t OpenSlot::high_water() const noexcept {
  return implementation().high_water(record(), arena().layout());
}

int OpenSlot::give_back_below(std::uintptr_t keep_from) const noexcept {
  if (!implementation().description().trims) {
    return ENOTSUP;
  }
  const int error = implementation().trim(record(), arena().layout(), keep_from);
  arena().settle(record());
  return error;
}

int OpenSlot::trim(std::uintptr_t keep_from) const noexcept {
  const int error = give_back_below(keep_from);
  if (error != ENOTSUP && (record_->marks.load(std::memory_order_relaxed) & look_mark) == 0 &&
      arena().pool != nullptr) {
    record_->marks.fetch_or(look_mark, std::memory_order_relaxed);
  }
  return error;
}

std::size_t OpenSlot::idle_depth() const noexcept {
  const bool is_told = (record_->marks.load(std::memory_order_relaxed) & grows_unseen_mark) == 0;
  return base() - (is_told ? limit() : high_water());
}

int OpenSlot::flatten(std::size_t depth) const noexcept {
  const int error = give_back_below(base() - depth);
  record_->high_water.store(record_->limit.load(std::memory_order_relaxed),
                            std::memory_order_relaxed);
  return error;
}

int OpenSlot::flatten_for_good(std::size_t depth) const noexcept {
  const int error = flatten(depth);
  const std::uintptr_t first_page = base() - vm::page_size();
  if (error != 0 || depth > policy().initial_commit || limit() >= first_page) {
    return error;
  }
  return implementation().discard(limit(), first_page - limit());
}

bool OpenSlot::is_running() const noexcept {
  return (record_->marks.load(std::memory_order_acquire) & running_mark) != 0 && runner().exists();
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
