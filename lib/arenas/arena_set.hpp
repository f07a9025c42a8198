// Sets of arenas of one kind: which have room, and how large the next one is.
#pragma once

#include "arenas/arena.hpp"

#include <memory>
#include <vector>

namespace growstack {

/// How large arenas are made. If so much address space is not available (RLIMIT_AS), smaller ones
/// are tried, down to the smallest: 64 MiB.
struct ArenaSizes {
  std::size_t first = 1;        ///< slots of the first arena
  std::size_t first_bytes = 1;  ///< the first arena has no more bytes than this
  std::size_t factor = 1;       ///< the next arena has this many times the slots of all others
  std::size_t most = 65536;     ///< slots of an arena at most
  std::size_t most_bytes = std::size_t{1} << 40;
};

/// One thread uses a set at a time.
class ArenaSet {
 public:
  ArenaSet(const Kind& kind, Account& account, const ArenaSizes& sizes)
      : kind_(kind), account_(account), sizes_(sizes) {}

  [[nodiscard]] const Kind& kind() const noexcept { return kind_; }
  [[nodiscard]] const std::vector<std::unique_ptr<Arena>>& arenas() const noexcept {
    return arenas_;
  }

  [[nodiscard]] bool has_room() const noexcept { return !with_room_.empty(); }
  /// Returns an arena with a free slot; makes one if there is none. Throws std::system_error,
  /// std::bad_alloc.
  Arena& with_room();

  /// Must be called after open() or close() of an arena of this set, because these may change
  /// whether it has room. Does not allocate.
  void note_room(Arena& arena) noexcept;

  /// Takes an arena out of the set. It is destroyed unless the caller keeps it.
  std::unique_ptr<Arena> remove(Arena& arena) noexcept;

 private:
  [[nodiscard]] std::unique_ptr<Arena> new_arena() const;

  Kind kind_;
  Account& account_;
  ArenaSizes sizes_;
  std::vector<std::unique_ptr<Arena>> arenas_;
  std::vector<Arena*> with_room_;  ///< has capacity for all arenas: note_room() needs no memory
  std::size_t slots_ = 0;
};

}  // namespace growstack
