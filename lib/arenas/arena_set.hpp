// Arenas of one kind: those with room, and how large the next one is.
#pragma once

#include "arenas/arena.hpp"

#include <memory>
#include <vector>

namespace growstack {

/// How large arenas are made, in slots and in bytes of address space. Where so much is not to be
/// had (RLIMIT_AS), smaller ones are tried, down to the least: 64 MiB.
struct ArenaSizes {
  std::size_t first = 1;
  std::size_t first_bytes = 1;
  std::size_t factor = 1;  ///< the next has so many times the slots of all before together
  std::size_t most = 65536;
  std::size_t most_bytes = std::size_t{1} << 40;
};

/// Used by one thread at a time.
class ArenaSet {
 public:
  ArenaSet(const Kind& kind, Account& account, const ArenaSizes& sizes)
      : kind_(kind), account_(account), sizes_(sizes) {}

  [[nodiscard]] const Kind& kind() const noexcept { return kind_; }
  [[nodiscard]] const std::vector<std::unique_ptr<Arena>>& arenas() const noexcept {
    return arenas_;
  }

  [[nodiscard]] bool has_room() const noexcept { return !with_room_.empty(); }
  /// One with a free slot: an old one, or a new one. Throws std::system_error, std::bad_alloc.
  Arena& with_room();

  /// After open() of one of them, or close(): whether it has room may have changed. Never
  /// allocates.
  void note_room(Arena& arena) noexcept;

  /// Takes an arena away, which destroys it unless it is kept.
  std::unique_ptr<Arena> remove(Arena& arena) noexcept;

 private:
  [[nodiscard]] std::unique_ptr<Arena> new_arena() const;

  Kind kind_;
  Account& account_;
  ArenaSizes sizes_;
  std::vector<std::unique_ptr<Arena>> arenas_;
  std::vector<Arena*> with_room_;  ///< has room for all, so that giving a slot back needs no memory
  std::size_t slots_ = 0;
};

}  // namespace growstack
