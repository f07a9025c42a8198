// The open stacks of a pool, and the arenas they lie in.
//
// A stack of a pool stays open (published to the fault handler, its first pages committed) from
// when it is made until demand has fallen:
//
//     out       in use, or in the cache of a thread
//     warm      in the pool, with its memory
//     deep      the same, of a name whose stacks are kept deeper than the pool's own
//     cold      in the pool, without memory. Only a strategy whose open stacks cost nothing but
//               memory has cold stacks; with other strategies the stack is closed, and its slot is
//               free.
//
// Idle stacks are known by index, one bit each, and the lowest is taken first. So stacks
// in use gather at low addresses. What is given back are runs of adjacent stacks, many by one
// system call; and arenas at high addresses become empty.
#pragma once

#include "arenas/arena_set.hpp"
#include "pool/learned_depths.hpp"
#include "pool/thread_cache.hpp"

#include <growstack/options.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace growstack {

class PoolCore;

/// As many stacks as are moved, or made, at a time.
using Batch = std::array<OpenSlot, ThreadCache::batch>;

/// Arenas are few, because each costs two mappings: 2^20 stacks lie in three of them.
inline constexpr ArenaSizes arena_sizes_of_pools{.first = 4096,
                                                 .first_bytes = std::size_t{64} << 30,
                                                 .factor = 15,
                                                 .most = std::size_t{1} << 22,
                                                 .most_bytes = std::size_t{16} << 40};

/// Used under the pool's lock.
class OpenStacks {
 public:
  /// Stacks of `options` (validated, and not of the strategy `automatic`), at most `most` of them,
  /// for `pool`. The options, the pool, the depths and the account must outlive this object.
  OpenStacks(const StackOptions& options, std::size_t most, PoolCore& pool,
             const LearnedDepths& depths, Account& account, const ArenaSizes& arena_sizes);

  [[nodiscard]] std::size_t open() const noexcept { return open_; }
  [[nodiscard]] std::size_t warm() const noexcept { return warm_; }
  /// Any thread, also without the lock.
  [[nodiscard]] std::size_t deep() const noexcept { return deep_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::size_t cold() const noexcept { return cold_; }
  /// Returns the number of those that are in the pool with memory.
  [[nodiscard]] std::size_t idle() const noexcept { return deep() + warm_; }
  [[nodiscard]] std::size_t out() const noexcept { return open_ - idle() - cold_; }
  [[nodiscard]] std::uint64_t created() const noexcept { return created_; }
  [[nodiscard]] const std::vector<std::unique_ptr<Arena>>& arenas() const noexcept {
    return arenas_.arenas();
  }
  [[nodiscard]] const Kind& kind() const noexcept { return arenas_.kind(); }

  /// Moves idle stacks out of the pool for tenancies of one name, the lowest first: those of the
  /// kind that suits the name best. None is deeper than stacks of that name are kept. Returns how
  /// many; 0 if none is idle.
  [[nodiscard]] std::uint32_t take(Batch& taken, std::size_t number) noexcept;

  /// Makes new stacks, which are out. Returns how many, at least 1. Throws std::system_error:
  /// EAGAIN if as many are open as there may be, or what opening a stack throws; std::bad_alloc.
  [[nodiscard]] std::uint32_t make(Batch& made);

  /// Moves a stack that was out into the pool. It is deep or warm, as its name says.
  void put(OpenSlot slot) noexcept;

  /// Ends a stack that was out.
  void close(OpenSlot slot) noexcept;

  /// Gives the memory of up to `most` deep and warm stacks back, the highest first.
  void cool(std::size_t most) noexcept;

  /// Begins to look for stacks that are deeper than they are kept from now on.
  void begin_to_flatten() noexcept;
  /// Goes on with it: trims up to `most` stacks that are idle, and marks those that are out. Looks
  /// at a bounded number of stacks. Returns whether there is more to do.
  [[nodiscard]] bool flatten_a_piece(std::uint32_t most) noexcept;

  /// Gives the memory of all idle stacks back, and the address space of all arenas in which no
  /// stack is out.
  void cool_all() noexcept;

  /// Ends up to `most` stacks of an arena that cool() found empty. Ending a whole arena can take
  /// long.
  void dismantle_a_piece(std::uint32_t most) noexcept;
  [[nodiscard]] bool has_to_dismantle() const noexcept { return !dismantled_.empty(); }

  /// Ends all stacks and arenas. No stack is out.
  void end() noexcept;

  /// In a forked child, the threads that the strategy needs are gone: they start again before the
  /// next stack is made.
  void note_fork() noexcept { in_forked_child_ = true; }

 private:
  [[nodiscard]] std::uint32_t make_in(Arena& arena, Batch& made);
  [[nodiscard]] std::uint32_t take_from(IndexSet Arena::*idle, Batch& taken,
                                        std::uint32_t most) noexcept;
  [[nodiscard]] std::uint32_t choose(Batch& taken, std::uint32_t count, std::uint32_t most,
                                     std::size_t number) noexcept;
  void cool_from(IndexSet Arena::*idle, Arena& arena, std::size_t& most) noexcept;
  [[nodiscard]] bool discard_in_row(Arena& arena, std::uint32_t first,
                                    std::uint32_t last) const noexcept;
  [[nodiscard]] bool flatten(Arena& arena, std::uint32_t index) noexcept;
  void count_idle(IndexSet Arena::*idle, std::ptrdiff_t more) noexcept;
  void cool_in_row(IndexSet Arena::*idle, Arena& arena, std::uint32_t first,
                   std::uint32_t last) noexcept;
  [[nodiscard]] static bool nobody_is_in(const Arena& arena) noexcept {
    return arena.open_count() == arena.cold.size();
  }
  void begin_to_dismantle(Arena& arena) noexcept;
  void finish_dismantling() noexcept;

  const StackOptions& options_;
  std::size_t most_;
  PoolCore& pool_;
  const LearnedDepths& depths_;
  ArenaSet arenas_;
  std::vector<std::unique_ptr<Arena>> dismantled_;
  std::size_t open_ = 0;
  std::atomic<std::size_t> deep_{0};
  std::size_t warm_ = 0;
  std::size_t cold_ = 0;
  std::uint64_t created_ = 0;
  std::size_t flattened_arenas_ = 0;    ///< arenas that are done
  std::uint32_t flattened_stacks_ = 0;  ///< slots of the next arena that are done
  bool in_forked_child_ = false;
};

}  // namespace growstack
