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
                       const LearnedDepths& depths, Account& account, const ArenaSizes& arena_sizes)
    : options_(options),
      most_(most),
      pool_(pool),
      depths_(depths),
      arenas_(Kind::of(options), account, arena_sizes) {}

std::uint32_t OpenStacks::take_from(IndexSet Arena::*idle, Batch& taken,
                                    std::uint32_t most) noexcept {
  std::uint32_t count = 0;
  for (const auto& arena : arenas()) {
    IndexSet& members = (*arena).*idle;
    while (count < most && !members.empty()) {
      const std::uint32_t index = members.least();
      members.erase(index);
      taken[count++] = arena->slot(index);
    }
    if (count == most) {
      break;
    }
  }
  count_idle(idle, -static_cast<std::ptrdiff_t>(count));
  return count;
}

/// Of `count` deep stacks that were taken keeps up to `most`, and puts the others back: those of
/// that name if there are any, otherwise one, because those of other names are as deep as these
/// need. Returns how many.
std::uint32_t OpenStacks::choose(Batch& taken, std::uint32_t count, std::uint32_t most,
                                 std::size_t number) noexcept {
  const auto end = taken.begin() + count;
  const auto others = std::stable_partition(
      taken.begin(), end, [&](OpenSlot slot) { return slot.name_number() == number; });
  const auto suitable = static_cast<std::uint32_t>(others - taken.begin());
  const std::uint32_t chosen = std::clamp(suitable, 1U, most);
  std::for_each(taken.begin() + chosen, end, [&](OpenSlot slot) { put(slot); });
  return chosen;
}

std::uint32_t OpenStacks::take(Batch& taken, std::size_t number) noexcept {
  constexpr auto some = static_cast<std::uint32_t>(NameHere::capacity / 2);
  std::uint32_t count = 0;
  if (deep() > 0 && depths_.is_apart(number)) {
    count = choose(taken, take_from(&Arena::deep, taken, ThreadCache::batch), some, number);
  } else if (warm_ > 0) {
    count = take_from(&Arena::warm, taken, ThreadCache::batch);
  } else if (cold_ > 0) {
    count = take_from(&Arena::cold, taken, ThreadCache::batch);
  } else if (deep() > 0) {
    count = take_from(&Arena::deep, taken, 1);  // one, because it is trimmed here
  }
  const std::size_t kept = depths_.kept().of(number);
  for (std::uint32_t index = 0; index < count; ++index) {
    if (taken[index].idle_depth() > kept) {
      static_cast<void>(taken[index].flatten(kept));
    }
  }
  return count;
}

void OpenStacks::count_idle(IndexSet Arena::*idle, std::ptrdiff_t more) noexcept {
  const auto count = static_cast<std::size_t>(more);
  if (idle == &Arena::deep) {
    deep_.store(deep() + count, std::memory_order_relaxed);
  } else if (idle == &Arena::warm) {
    warm_ += count;
  } else {
    cold_ += count;
  }
}

// ---- making stacks ------------------------------------------------------------------------------

std::uint32_t OpenStacks::make(Batch& made) {
  if (open_ >= most_) {
    fail(EAGAIN, "StackPool \"" + options_.name + "\": PoolOptions::most_stacks is " +
                     std::to_string(most_) +
                     ", and so many are out: raise it, or give stacks back sooner");
  }
  if (!arenas_.has_room() || in_forked_child_) {
    start_handler(*kind().implementation);
    in_forked_child_ = false;
  }
  const std::uint32_t count =
      arenas_.open_in_one([&](Arena& arena) { return make_in(arena, made); });
  open_ += count;
  created_ += count;
  return count;
}

/// Makes several at once only if there are many already, because what is made ahead of need is
/// committed.
std::uint32_t OpenStacks::make_in(Arena& arena, Batch& made) {
  if (arena.pool == nullptr) {
    arena.deep = IndexSet(arena.slot_count());
    arena.warm = IndexSet(arena.slot_count());
    arena.cold = IndexSet(arena.slot_count());
    arena.kept = &depths_.kept();
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
  const auto idle = depths_.is_apart(slot.name_number()) ? &Arena::deep : &Arena::warm;
  (slot.arena().*idle).insert(slot.index());
  count_idle(idle, 1);
}

void OpenStacks::close(OpenSlot slot) noexcept {
  arenas_.close(slot.arena(), slot.index());
  --open_;
}

// ---- giving memory back -------------------------------------------------------------------------

void OpenStacks::cool(std::size_t most) noexcept {
  for (std::size_t from_end = 1; most > 0 && from_end <= arenas().size(); ++from_end) {
    Arena& arena = *arenas()[arenas().size() - from_end];
    cool_from(&Arena::deep, arena, most);
    cool_from(&Arena::warm, arena, most);
    const bool is_only_one = arenas().size() == 1;
    if (!is_only_one && nobody_is_in(arena)) {
      begin_to_dismantle(arena);
      --from_end;
    }
  }
}

/// Cools up to `most` stacks, and takes them off that number.
void OpenStacks::cool_from(IndexSet Arena::*idle, Arena& arena, std::size_t& most) noexcept {
  const IndexSet& members = arena.*idle;
  while (most > 0 && !members.empty()) {
    const std::uint32_t last = members.greatest();
    const std::uint32_t first = members.first_in_row(
        last, static_cast<std::uint32_t>(std::min<std::size_t>(most, UINT32_MAX)));
    most -= last - first + 1;
    cool_in_row(idle, arena, first, last);
  }
}

/// Makes idle stacks cold, or closes them if the strategy has no cold ones.
void OpenStacks::cool_in_row(IndexSet Arena::*idle, Arena& arena, std::uint32_t first,
                             std::uint32_t last) noexcept {
  const bool stay_open = discard_in_row(arena, first, last);
  for (std::uint32_t index = first; index <= last; ++index) {
    (arena.*idle).erase(index);
    if (stay_open) {
      arena.cold.insert(index);
    } else {
      arenas_.close(arena, index);
    }
  }
  const auto count = static_cast<std::ptrdiff_t>(last - first + std::size_t{1});
  count_idle(idle, -count);
  count_idle(&Arena::cold, stay_open ? count : 0);
  open_ -= stay_open ? 0 : static_cast<std::size_t>(count);
}

/// Gives the memory of a row of stacks back, so that they can stay open. Returns false if they
/// cannot. A cold stack is not charged more than the warm size, so deeper ones are trimmed.
bool OpenStacks::discard_in_row(Arena& arena, std::uint32_t first,
                                std::uint32_t last) const noexcept {
  if (arena.implementation().discard_in_row(arena.bounds_of(first).floor,
                                            arena.bounds_of(last).base) != 0) {
    return false;
  }
  const std::size_t warm = kind().policy.initial_commit;
  for (std::uint32_t index = first; index <= last; ++index) {
    const OpenSlot slot = arena.slot(index);
    if (slot.idle_depth() > warm && slot.flatten(warm) != 0) {
      return false;
    }
  }
  return true;
}

// ---- stacks that are too deep -------------------------------------------------------------------

void OpenStacks::begin_to_flatten() noexcept {
  flattened_arenas_ = 0;
  flattened_stacks_ = 0;
}

bool OpenStacks::flatten_a_piece(std::uint32_t most) noexcept {
  constexpr std::uint32_t most_looked_at = 1024;
  std::uint32_t looked_at = 0;
  while (flattened_arenas_ < arenas().size()) {
    Arena& arena = *arenas()[flattened_arenas_];
    for (; flattened_stacks_ < arena.used_count(); ++flattened_stacks_) {
      if (most == 0 || looked_at++ == most_looked_at) {
        return true;
      }
      most -= flatten(arena, flattened_stacks_) ? 1 : 0;
    }
    ++flattened_arenas_;
    flattened_stacks_ = 0;
  }
  return false;
}

/// Sees to it that a stack is kept no deeper than others of its name. Returns whether it was
/// trimmed for that. One that is out is marked, so that it is trimmed when it comes back.
bool OpenStacks::flatten(Arena& arena, std::uint32_t index) noexcept {
  const OpenSlot slot = arena.slot(index);
  if (slot.record().generation.load(std::memory_order_relaxed) % 2 == 0 ||
      arena.cold.contains(index)) {
    return false;
  }
  const std::size_t number = slot.name_number();
  const std::size_t kept = depths_.kept().of(number);
  if (arena.deep.contains(index) && !depths_.is_apart(number)) {
    arena.deep.erase(index);
    arena.warm.insert(index);
    count_idle(&Arena::deep, -1);
    count_idle(&Arena::warm, 1);
  }
  const bool is_idle = arena.warm.contains(index) || arena.deep.contains(index);
  if (!is_idle && slot.base() - slot.record().limit.load(std::memory_order_relaxed) > kept) {
    slot.record().marks.fetch_or(look_mark, std::memory_order_release);  // see end_marked()
  }
  return is_idle && slot.idle_depth() > kept && slot.flatten_for_good(kept) == 0;
}

void OpenStacks::cool_all() noexcept {
  cool(idle());
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
  count_idle(&Arena::deep, -static_cast<std::ptrdiff_t>(arena.deep.size()));
  warm_ -= arena.warm.size();
  begin_to_flatten();  // arenas are counted
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
