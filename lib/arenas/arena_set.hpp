// Sets of arenas of one kind: which have room, and how large the next one is.
#pragma once

#include "arenas/arena.hpp"
#include "arenas/idle_arenas.hpp"

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

  /// Adds an arena of this kind and account; null: does nothing. Throws std::bad_alloc.
  void add(std::unique_ptr<Arena> arena);

  /// Calls `open`, which opens stacks, with an arena that has a free slot; makes one if there is
  /// none. Returns what `open` returns. If `open` throws, the arena goes unless it has stacks, and
  /// all is tried once more if idle arenas can make room. Throws what `open` throws;
  /// std::system_error, std::bad_alloc.
  template <class Open>
  auto open_in_one(Open open) {
    return with_room_of_idle_arenas([&] {
      Arena& arena = with_room();
      const AfterUse after(*this, arena);
      return open(arena);
    });
  }

  /// Closes the stack of a slot in an arena of this set. The arena stays.
  void close(Arena& arena, std::uint32_t index) noexcept {
    arena.close(index);
    note_room(arena);
  }

  /// Takes an arena out of the set. It is destroyed unless the caller keeps it.
  std::unique_ptr<Arena> remove(Arena& arena) noexcept;

 private:
  /// What is done at the end of each use of an arena, also if the use failed.
  class AfterUse {
   public:
    AfterUse(ArenaSet& set, Arena& arena) noexcept : set_(set), arena_(arena) {}
    ~AfterUse() {
      if (arena_.open_count() == 0) {
        static_cast<void>(set_.remove(arena_));
      } else {
        set_.note_room(arena_);
      }
    }
    AfterUse(const AfterUse&) = delete;
    AfterUse& operator=(const AfterUse&) = delete;

   private:
    ArenaSet& set_;
    Arena& arena_;
  };

  [[nodiscard]] std::unique_ptr<Arena> new_arena() const;
  Arena& with_room();
  void note_room(Arena& arena) noexcept;

  Kind kind_;
  Account& account_;
  ArenaSizes sizes_;
  std::vector<std::unique_ptr<Arena>> arenas_;
  std::vector<Arena*> with_room_;  ///< has capacity for all arenas: note_room() needs no memory
  std::size_t slots_ = 0;
};

}  // namespace growstack
