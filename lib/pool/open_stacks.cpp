#include "pool/open_stacks.hpp"

#include "errors.hpp"
#include "strategies/start_handler.hpp"

#include <algorithm>
#include <cerrno>
#include <new>
#include <string>
#include <utility>

namespace growstack {

OpenStacks::OpenStacks(const StackOptions& options, std::size_t most, PoolCore& pool,
                       Account& account, const ArenaSizes& arena_sizes)
    : options_(options),
      most_(most),
      pool_(pool),
      arenas_(Kind::of(options), account, arena_sizes) {}

std::uint32_t OpenStacks::take(Batch& taken) noexcept {
  std::uint32_t count = 0;
  const auto take_from = [&](IndexSet Arena::*idle, std::size_t& total) {
    for (const auto& arena : arenas()) {
      IndexSet& members = (*arena).*idle;
      while (count < taken.size() && !members.empty()) {
        const std::uint32_t index = members.least();
        members.erase(index);
        --total;
        taken[count++] = arena->slot(index);
      }
      if (count == taken.size() || total == 0) {
        return;
      }
    }
  };
  if (warm_ > 0) {
    take_from(&Arena::warm, warm_);
  } else if (cold_ > 0) {
    take_from(&Arena::cold, cold_);
  }
  return count;
}

// ---- making stacks ------------------------------------------------------------------------------

std::uint32_t OpenStacks::make(Batch& made) {
  if (open_ >= most_) {
    fail(EAGAIN, "StackPool \"" + options_.name + "\": PoolOptions::most_stacks is " +
                     std::to_string(most_) +
                     ", and so many are out: raise it, or give stacks back sooner");
  }
  const Implementation& strategy = *kind().implementation;
  const bool needs_arena = !arenas_.has_room();
  if (needs_arena || in_forked_child_) {
    start_handler(strategy);
    in_forked_child_ = false;
  }
  const std::uint32_t count = arenas_.open_in_one([&](Arena& arena) {
    if (needs_arena) {
      // Between the first start and the new range, the handler may have been uninstalled. From here
      // on it cannot be.
      start_handler(strategy);
    }
    return make_in(arena, made);
  });
  open_ += count;
  created_ += count;
  return count;
}

/// Makes several at once only if there are many already, because what is made ahead of need is
/// committed.
std::uint32_t OpenStacks::make_in(Arena& arena, Batch& made) {
  if (arena.pool == nullptr) {
    arena.warm = IndexSet(arena.slot_count());
    arena.cold = IndexSet(arena.slot_count());
    arena.pool = &pool_;
  }
  constexpr std::size_t one_ahead_of = 4;
  const std::size_t wished = std::min({open_ / one_ahead_of, made.size(), most_ - open_});
  std::uint32_t count = 0;
  if (wished > 1 && !arena.has_closed()) {
    std::uint32_t first = 0;
    count = arena.open_in_row(static_cast<std::uint32_t>(wished), options_, first);
    for (std::uint32_t index = 0; index < count; ++index) {
      made[index] = arena.slot(first + index);
    }
  }
  if (count == 0) {
    made[count++] = arena.open(options_);
  }
  if (kind().description().event == GrowthEvent::none) {
    for (std::uint32_t index = 0; index < count; ++index) {
      made[index].record().marks.store(grows_unseen_mark, std::memory_order_relaxed);
    }
  }
  return count;
}

void OpenStacks::put(OpenSlot slot) noexcept {
  slot.arena().warm.insert(slot.index());
  ++warm_;
}

// ---- giving memory back -------------------------------------------------------------------------

void OpenStacks::cool(std::size_t most) noexcept {
  for (std::size_t from_end = 1; most > 0 && from_end <= arenas().size(); ++from_end) {
    Arena& arena = *arenas()[arenas().size() - from_end];
    while (most > 0 && !arena.warm.empty()) {
      const std::uint32_t last = arena.warm.greatest();
      const std::uint32_t first = arena.warm.first_in_row(
          last, static_cast<std::uint32_t>(std::min<std::size_t>(most, UINT32_MAX)));
      most -= last - first + 1;
      cool_in_row(arena, first, last);
    }
    const bool is_only_one = arenas().size() == 1;
    if (!is_only_one && nobody_is_in(arena)) {
      begin_to_dismantle(arena);
      --from_end;
    }
  }
}

/// Makes warm stacks cold, or closes them if the strategy has no cold ones.
void OpenStacks::cool_in_row(Arena& arena, std::uint32_t first, std::uint32_t last) noexcept {
  const bool stay_open = arena.implementation().discard_in_row(arena.bounds_of(first).floor,
                                                               arena.bounds_of(last).base) == 0;
  for (std::uint32_t index = first; index <= last; ++index) {
    arena.warm.erase(index);
    if (stay_open) {
      arena.cold.insert(index);
    } else {
      arenas_.close(arena, index);
    }
  }
  const std::size_t count = last - first + std::size_t{1};
  warm_ -= count;
  cold_ += stay_open ? count : 0;
  open_ -= stay_open ? 0 : count;
}

void OpenStacks::cool_all() noexcept {
  cool(warm_);
  for (std::size_t index = arenas().size(); index-- > 0;) {
    if (nobody_is_in(*arenas()[index])) {
      begin_to_dismantle(*arenas()[index]);
    }
  }
  finish_dismantling();
}

// ---- ending arenas ------------------------------------------------------------------------------

/// Takes an arena out of use. No stack of it is out.
void OpenStacks::begin_to_dismantle(Arena& arena) noexcept {
  open_ -= arena.open_count();
  cold_ -= arena.cold.size();
  warm_ -= arena.warm.size();
  std::unique_ptr<Arena> removed = arenas_.remove(arena);
  try {
    dismantled_.push_back(std::move(removed));
  } catch (const std::bad_alloc&) {  // then all of it at once
    static_cast<void>(removed->dismantle(UINT32_MAX));
  }
}

void OpenStacks::dismantle_a_piece(std::uint32_t most) noexcept {
  if (!dismantled_.empty() && dismantled_.back()->dismantle(most)) {
    dismantled_.pop_back();
  }
}

void OpenStacks::finish_dismantling() noexcept {
  while (!dismantled_.empty()) {
    dismantle_a_piece(UINT32_MAX);
  }
}

void OpenStacks::end() noexcept {
  while (!arenas().empty()) {
    begin_to_dismantle(*arenas().back());
  }
  finish_dismantling();
}

}  // namespace growstack
