#include "arenas/arena_set.hpp"

#include <algorithm>
#include <system_error>
#include <utility>

namespace growstack {

std::unique_ptr<Arena> ArenaSet::new_arena() const {
  constexpr std::size_t smaller_by = 8;
  const std::size_t slot_size = kind_.layout.slot_size;
  const std::size_t wished =
      slots_ == 0 ? std::min(sizes_.first, sizes_.first_bytes / slot_size) : slots_ * sizes_.factor;
  std::size_t slots = std::min({wished, sizes_.most, sizes_.most_bytes / slot_size});
  while (slots > 1 && kind_.description().keeps_reservation) {
    try {
      return with_room_of_idle_arenas(
          [&] { return std::make_unique<Arena>(kind_, account_, slots); });
    } catch (const std::exception&) {  // no address space, or no memory for the records
      slots /= smaller_by;
    }
  }
  return std::make_unique<Arena>(kind_, account_, 1);
}

/// Returns an arena with a free slot; makes one if there is none.
Arena& ArenaSet::with_room() {
  if (!with_room_.empty()) {
    return *with_room_.back();
  }
  add(new_arena());
  return *with_room_.back();
}

void ArenaSet::add(std::unique_ptr<Arena> arena) {
  if (arena == nullptr) {
    return;
  }
  arenas_.reserve(arenas_.size() + 1);
  with_room_.reserve(arenas_.size() + 1);
  slots_ += arena->slot_count();
  with_room_.push_back(arena.get());
  arenas_.push_back(std::move(arena));
}

/// To be called after opening and closing stacks of an arena, which change whether it has room.
/// Does not allocate.
void ArenaSet::note_room(Arena& arena) noexcept {
  const auto found = std::find(with_room_.rbegin(), with_room_.rend(), &arena);
  if (found == with_room_.rend() && arena.has_room()) {
    with_room_.push_back(&arena);
  } else if (found != with_room_.rend() && !arena.has_room()) {
    with_room_.erase(std::next(found).base());
  }
}

std::unique_ptr<Arena> ArenaSet::remove(Arena& arena) noexcept {
  std::erase(with_room_, &arena);
  slots_ -= arena.slot_count();
  const auto found = std::find_if(arenas_.begin(), arenas_.end(),
                                  [&](const auto& each) { return each.get() == &arena; });
  std::unique_ptr<Arena> removed = std::move(*found);
  arenas_.erase(found);
  return removed;
}

}  // namespace growstack
