// Stacks by the million: reused, guarded, and given back when demand falls.
//
//     growstack::StackPool pool({.reserve = 8 << 20});
//     growstack::Stack stack = pool.acquire("connection");  // a new one, or one given back
//     // ... run on it: growstack::call(stack, f), or with a context library
//     // The end of `stack` gives it back to the pool, in whichever thread.
#pragma once

#include <growstack/options.hpp>
#include <growstack/stack.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace growstack {
class PoolCore;
}

#pragma GCC visibility push(default)  // exported from a shared library

namespace growstack {

/// Sizes in bytes, rounded up to whole pages, and always without the guard.
struct PoolOptions {
  /// How far each stack may grow. Address space that is never touched costs nothing.
  std::size_t reserve = std::size_t{8} * 1024 * 1024;
  /// Never committed, below each floor. At least one page.
  std::size_t guard = std::size_t{64} * 1024;
  /// `initial_commit` is also the warm size: a stack that grew beyond it is trimmed to it when it
  /// is given back.
  GrowthPolicy policy = GrowthPolicy::pooled();
  /// Any but grows_down, which cannot keep its address space from stack to stack, and heap, which
  /// has no guard.
  Strategy strategy = Strategy::automatic;
  /// Of the stacks in reports, unless acquire() says another. At most 39 bytes are kept.
  std::string name = "pooled";

  /// Stacks at most, live and idle ones together.
  std::size_t most_stacks = std::numeric_limits<std::size_t>::max();
  /// Committed bytes at most, of live and idle stacks together. Growth beyond it is an overflow of
  /// that one stack: reported as one, and the end of the process, but not the OOM killer's choice.
  /// (What the kernel fills on its own is counted when the stack is made: all of the reserve for
  /// demand_paging and locked. guard_markers counts all of the reserve once a stack is deeper than
  /// the faults tell: with the pooled policy 256 KiB.)
  std::size_t budget = std::numeric_limits<std::size_t>::max();
  /// How fast idle stacks give their memory back: as many stacks stay warm as were in use at the
  /// same time, and each interval halves that number, down to those in use now. Those in the caches
  /// of threads count as in use. Zero: they stay warm until trim().
  std::chrono::milliseconds retention{10'000};
};

/// How deep stacks went, by powers of two. What counts is what was committed at the deepest moment
/// of each tenancy, from acquire() to its end, so the steps of the growth policy show.
struct HighWaterDistribution {
  /// stacks[i]: tenancies that stayed within 2^i bytes, and not within half of that.
  std::array<std::uint64_t, 48> stacks{};
  std::size_t deepest = 0;  ///< bytes

  /// All of them.
  [[nodiscard]] std::uint64_t count() const noexcept;
  /// The power of two, in bytes, within which that part of them stayed (0.99: 99 %); 0 if there are
  /// none.
  [[nodiscard]] std::size_t within(double part) const noexcept;
  /// Both together.
  HighWaterDistribution& operator+=(const HighWaterDistribution& other) noexcept;
};

/// Of one name that acquire() was given.
struct NamedHighWater {
  std::string name;                  ///< of the tenancies
  HighWaterDistribution high_water;  ///< of those that have ended
};

/// What a pool has, and what it did since it was made. Other threads go on meanwhile: the figures
/// are of about now.
struct PoolStatistics {
  std::size_t live = 0;       ///< acquired and not given back
  std::size_t cached = 0;     ///< idle and warm: ready without a system call
  std::size_t cold = 0;       ///< idle, and their memory given back
  std::size_t arenas = 0;     ///< reservations that the stacks lie in
  std::size_t reserved = 0;   ///< bytes of address space of all these stacks, without guards
  std::size_t committed = 0;  ///< bytes; what `budget` bounds
  std::uint64_t created = 0;  ///< stacks that were made
  std::uint64_t hits = 0;     ///< acquisitions from the calling thread's cache
  std::uint64_t misses = 0;   ///< the others: these take the pool's lock, and perhaps make a stack
  std::uint64_t growth_faults = 0;   ///< of all its stacks
  std::uint64_t trims = 0;           ///< stacks that had grown and were trimmed when given back
  HighWaterDistribution high_water;  ///< of all tenancies that have ended
};

/// A pool of stacks of one size. All member functions may be called by any thread at any time, but
/// not from signal handlers.
///
/// Each thread keeps a few idle stacks for itself, up to 32: as long as these last, acquiring and
/// giving back take neither a lock nor a system call. (Of demand_paging, demand_paging_huge and
/// locked no event tells whether a stack has grown: giving one back asks the kernel and trims.) A
/// thread's cache goes back to the pool when the thread ends.
class StackPool {
 public:
  /// Makes a first stack, so that what does not work here is known at once. Throws
  /// std::system_error as Stack's constructor does.
  explicit StackPool(const PoolOptions& options = {});
  /// Stacks that are still out stay valid; their memory is released as they end. No other thread
  /// may be inside of a function of the pool, or be giving back one of its stacks.
  ~StackPool();
  /// A moved-from pool may only be destroyed or assigned to.
  StackPool(StackPool&&) noexcept = default;
  /// The end of the pool that was here, and then the same.
  StackPool& operator=(StackPool&&) noexcept;
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;

  /// A stack on which nothing ever ran, or the next of those that were given back: contents are
  /// indeterminate. Attaches the calling thread (handler::attach_thread). `name` is for reports and
  /// statistics; of more than 255 different ones the rest is counted as the pool's own. Throws
  /// std::system_error: EAGAIN (most_stacks are out), ENOMEM (the message names the limit and the
  /// cure: the budget, vm.max_map_count, RLIMIT_DATA, RLIMIT_AS), std::bad_alloc. The pool stays
  /// usable.
  [[nodiscard, gnu::visibility("hidden")]] Stack acquire() { return Stack(acquire_slot()); }
  /// The same, with a name of its own.
  [[nodiscard, gnu::visibility("hidden")]] Stack acquire(std::string_view name) {
    return Stack(acquire_slot(name));
  }

  /// Gives the memory of all idle stacks back now, those in the caches of threads included, and the
  /// address space of arenas without a live one.
  void trim() noexcept;

  /// What it has now, and did so far.
  [[nodiscard]] PoolStatistics statistics() const;
  /// For each name the depths of its tenancies that have ended, the pool's own name first.
  [[nodiscard]] std::vector<NamedHighWater> high_water_by_name() const;
  /// Bytes in physical memory now, of live and idle stacks. Takes time in proportion.
  [[nodiscard]] std::size_t resident() const;

  /// Never Strategy::automatic: what that chose.
  [[nodiscard]] Strategy strategy() const noexcept;
  /// And why not a better one, as for Stack.
  [[nodiscard]] std::string_view fallback_reason() const noexcept;
  /// Bytes from floor to base of each stack.
  [[nodiscard]] std::size_t reserve() const noexcept;

 private:
  struct Close {
    void operator()(PoolCore* core) const noexcept;
  };
  [[nodiscard]] handler::SlotRecord* acquire_slot();
  [[nodiscard]] handler::SlotRecord* acquire_slot(std::string_view name);
  std::unique_ptr<PoolCore, Close> core_;
};

}  // namespace growstack

#pragma GCC visibility pop
