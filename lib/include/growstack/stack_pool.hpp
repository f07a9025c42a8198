// Stacks by the million: reused, guarded, and given back when demand falls.
//
//     growstack::StackPool pool({.reserve = 8 << 20});
//     growstack::Stack stack = pool.acquire("connection");  // a new one, or one given back
//     // ... run on it: growstack::call(stack, f), or with a context library
//     // The end of `stack` gives it back to the pool, in whichever thread that is.
#pragma once

#include <growstack/export.hpp>
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
class StackPool;

namespace detail {

/// Tells where a stack lies that its owner gave up, as allocators of contexts keep it.
struct ReleasedStack {
  void* base = nullptr;      ///< highest address
  std::size_t reserved = 0;  ///< bytes
};

// One call for each way, because an allocator makes both for every fiber.

/// Gives up the ownership of a stack. Throws what Stack::release() throws.
[[nodiscard]] GROWSTACK_EXPORT ReleasedStack release(Stack stack);
/// Acquires a stack of the pool's own name and gives up its ownership. Throws what
/// StackPool::acquire() throws.
[[nodiscard]] GROWSTACK_EXPORT ReleasedStack acquire_released(StackPool& pool);
/// Ends a stack that was given up. Ends in std::terminate() if no stack has this base: then
/// somebody's memory was overwritten.
GROWSTACK_EXPORT void end_released(void* base) noexcept;

}  // namespace detail

/// Says how deep the idle stacks of a pool stay committed.
enum class WarmSize : std::uint8_t {
  /// As deep as their tenancies usually go, and not less than GrowthPolicy::initial_commit.
  learned,
  /// GrowthPolicy::initial_commit. A stack that grew beyond it is trimmed whenever it is given
  /// back, and grows again in each tenancy that goes deeper.
  fixed,
};

/// Says what a pool and its stacks shall be. Sizes are in bytes, and never include the guard. The
/// library rounds them up as it does those of StackOptions.
struct PoolOptions {
  /// How far each stack may grow. Address space that is never touched costs nothing.
  std::size_t reserve = std::size_t{8} * 1024 * 1024;
  /// The guard below each floor, at least one page. It is never committed.
  std::size_t guard = std::size_t{64} * 1024;
  /// How the stacks grow. `initial_commit` is also the least that idle stacks keep. (If a frame of
  /// more than 2 MiB jumped over the window of guard_markers, nobody has seen that, and the stack
  /// keeps its memory until it is cold.)
  GrowthPolicy policy = GrowthPolicy::pooled();
  /// How deep idle stacks stay committed. By default the pool learns it: a stack that comes back
  /// keeps at most the usual depth of its name or of its pool, which is the power of two within
  /// which seven of eight tenancies stayed, in this interval of retention and the last. (An
  /// interval is at least 100 ms here; with a retention of 0 usual depths rise and do not fall.)
  /// What is deeper is trimmed. A tenancy that needs more than its stack kept gets the usual depth
  /// by its first growth fault. To learn, the pool trims a stack now and then which it could have
  /// kept. The next tenant of a stack may find what the last one left in it, as deep as it is kept.
  ///
  /// Of guard_markers no stack keeps more than 1 MiB if its reserve is larger than 2 MiB. Stacks
  /// that do not trim (locked) keep all. If the environment has GROWSTACK_INITIAL_COMMIT=page,
  /// every tenancy begins with one page.
  WarmSize warm_size = WarmSize::learned;
  /// How the stacks get their memory. The default is the best strategy that works here, because a
  /// pool may have a million stacks: only userfault_signal and guard_markers, its first candidates,
  /// need no mapping for each stack (vm.max_map_count). guard_markers, taken where userfaultfd is
  /// forbidden, loses data if libc reads into a frame of more than 2 MiB. StackOptions has another
  /// default, because a single stack can afford its mappings. A pool cannot have grows_down, which
  /// does not keep its address space from stack to stack, or heap, which has no guard.
  Strategy strategy = Strategy::automatic;
  /// How many bytes of each stack a core dump contains in any case: see StackOptions::core_depth.
  /// The default costs no mapping. With it, the core of a process with 10,000 stacks of 8 MiB has
  /// an apparent size of 85 to 105 GB, and the kernel takes 7 to 11 seconds for it, or far longer
  /// if kernel.core_pattern is a pipe, which gets zeros for the holes. With 256 KiB it has 3 GB (21
  /// GB with guard_markers), and each stack has two mappings.
  std::size_t core_depth = std::size_t{256} * 1024 * 1024;
  /// The name of the stacks in reports, unless acquire() gives another one. At most 39 bytes are
  /// kept.
  std::string name = "pooled";

  /// How many stacks there may be, live and idle ones together.
  std::size_t most_stacks = std::numeric_limits<std::size_t>::max();
  /// How many bytes live and idle stacks may have committed together. A stack that would grow
  /// beyond it has overflowed: that is reported, and ends the process, so that the OOM killer never
  /// chooses a process. Memory that the kernel supplies on its own is counted when the stack
  /// is made: all of the reserve for demand_paging, demand_paging_huge and locked. guard_markers
  /// counts all of the reserve once a stack is deeper than its faults tell, which is about 2 MiB.
  /// What idle stacks keep is counted, too. So a stack that comes back keeps more than the warm
  /// size only while the pool has used at most a fifth of what this budget and that of the process
  /// allow.
  std::size_t budget = std::numeric_limits<std::size_t>::max();
  /// How fast idle stacks give their memory back. At first as many stacks may be in use or warm as
  /// were in use at the same time. After each interval at most half as many may be so as before,
  /// but never fewer than are in use. Stacks in the caches of threads count as in use. Only a
  /// Stack that comes back looks at the clock, so a pool that nobody uses keeps what it has until
  /// trim(). From 0 to a year. 0: idle stacks stay warm until trim().
  std::chrono::milliseconds retention{10'000};
};

/// Tells how deep stacks went, by powers of two. A tenancy lasts from acquire() to the end of the
/// Stack. What counts is how much was committed at its deepest moment, so the steps of the growth
/// policy show. Each tenancy is counted. But if its stack was kept deeper than the warm size
/// (PoolOptions::warm_size), and it stayed within that, then nobody knows how deep it went: such
/// tenancies are divided among the depths in the proportion of those that the pool measured.
struct GROWSTACK_EXPORT HighWaterDistribution {
  /// stacks[i] counts the tenancies that stayed within 2^i bytes, and did not stay within half of
  /// that.
  std::array<std::uint64_t, 48> stacks{};
  std::size_t deepest = 0;  ///< bytes that the deepest tenancy had committed

  /// Returns the number of all tenancies.
  [[nodiscard]] std::uint64_t count() const noexcept;
  /// Returns the power of two, in bytes, within which a part of the tenancies stayed: 0.99 means 99
  /// % of them. Returns 0 if there are none.
  [[nodiscard]] std::size_t within(double part) const noexcept;
  /// Adds the tenancies of `other`.
  HighWaterDistribution& operator+=(const HighWaterDistribution& other) noexcept;
};

/// Tells how deep the stacks of one name went.
struct NamedHighWater {
  std::string name;                  ///< as acquire() got it
  HighWaterDistribution high_water;  ///< of the tenancies that have ended
};

/// Tells what a pool has now, and what it did since it was made. Other threads go on meanwhile, so
/// the figures do not all belong to exactly the same moment.
struct PoolStatistics {
  std::size_t live = 0;       ///< stacks that were acquired and not given back
  std::size_t cached = 0;     ///< stacks that are idle and warm: ready without a system call
  std::size_t cold = 0;       ///< stacks that are idle, and whose memory was given back
  std::size_t arenas = 0;     ///< reservations that the stacks lie in
  std::size_t reserved = 0;   ///< bytes of address space of all these stacks, without guards
  std::size_t committed = 0;  ///< bytes; PoolOptions::budget bounds them
  std::uint64_t created = 0;  ///< stacks that were made
  std::uint64_t hits = 0;     ///< acquisitions from the calling thread's cache
  std::uint64_t misses = 0;   ///< the others: they take the pool's lock, and perhaps make a stack
  std::uint64_t growth_faults = 0;   ///< growth faults of tenancies that have ended
  std::uint64_t trims = 0;           ///< stacks that had grown, and were trimmed when given back
  HighWaterDistribution high_water;  ///< of all tenancies that have ended
};

/// Keeps stacks of one size for reuse. Any thread may call any member function at any time, but not
/// from a signal handler.
///
/// Each thread keeps up to 32 idle stacks for itself. As long as these suffice, acquiring a stack
/// and giving it back take neither a lock nor a system call. (For demand_paging, demand_paging_huge
/// and locked no event tells whether a stack has grown, so giving one back asks the kernel and
/// trims.) A thread's cache goes back to the pool when the thread ends.
class GROWSTACK_EXPORT StackPool {
 public:
  /// Makes a pool and its first stack, so that an error shows at once. Throws std::system_error as
  /// Stack's constructor does, and EINVAL if an option is out of range or the strategy has no
  /// pools.
  explicit StackPool(const PoolOptions& options = {});
  /// Ends the pool. Stacks that are out stay valid; their memory is released as they end. No other
  /// thread may be inside a member function of the pool, or be giving back one of its stacks. The
  /// caller may run on a stack of the pool: that one stays.
  ~StackPool();
  /// Takes the pool over. `other` is moved-from afterwards: it may only be destroyed or assigned
  /// to.
  StackPool(StackPool&& other) noexcept = default;
  /// Ends the pool that this object owned, as the destructor does, and takes the other one over.
  StackPool& operator=(StackPool&& other) noexcept;
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;

  /// Returns a stack of the pool's own name: a new one, or one that was given back, whose contents
  /// are indeterminate. Attaches the calling thread (attach_thread()) unless it has used this pool
  /// before. So if other code may block SIGSEGV or SIGBUS, take the alternate signal stack away or
  /// set another handler, call attach_thread() and handler::install() afterwards, or link
  /// growstack::keep_handler, which prevents that. Throws std::bad_alloc, and std::system_error:
  /// EAGAIN if most_stacks are out; ENOMEM with a message that names the limit and the cure (the
  /// budget, vm.max_map_count, RLIMIT_DATA, RLIMIT_AS). The pool stays usable.
  [[nodiscard]] GROWSTACK_LOCAL Stack acquire() { return Stack(acquire_slot()); }
  /// Returns a stack with a name of its own, which reports and statistics use; otherwise as
  /// acquire() without a name does. A pool knows 255 such names; a stack with any further name has
  /// the pool's own.
  [[nodiscard]] GROWSTACK_LOCAL Stack acquire(std::string_view name) {
    return Stack(acquire_slot(name));
  }

  /// Gives the memory of all idle stacks back now, those in the caches of threads included, and the
  /// address space of arenas without a live stack.
  void trim() noexcept;

  /// Returns what the pool has now, and what it did so far.
  [[nodiscard]] PoolStatistics statistics() const;
  /// Returns for each name how deep its tenancies went that have ended. The pool's own name comes
  /// first.
  [[nodiscard]] std::vector<NamedHighWater> high_water_by_name() const;
  /// Returns the bytes of live and idle stacks that are in physical memory now, as
  /// Stack::resident() does. Takes time in proportion.
  [[nodiscard]] std::size_t resident() const;

  /// Returns the strategy in use. It is never Strategy::automatic, but what that chose.
  [[nodiscard]] Strategy strategy() const noexcept;
  /// Returns why Strategy::automatic did not choose its first candidate, and what the one that it
  /// chose lacks here. Empty if it chose the first one, which lacks nothing, or if the options
  /// named a strategy. Valid as long as the pool.
  [[nodiscard]] std::string_view fallback_reason() const noexcept;
  /// Returns the bytes from floor to base of each stack.
  [[nodiscard]] std::size_t reserve() const noexcept;

 private:
  friend detail::ReleasedStack detail::acquire_released(StackPool& pool);
  struct GROWSTACK_EXPORT Close {
    void operator()(PoolCore* core) const noexcept;
  };
  [[nodiscard]] handler::SlotRecord* acquire_slot();
  [[nodiscard]] handler::SlotRecord* acquire_slot(std::string_view name);
  std::unique_ptr<PoolCore, Close> core_;
};

}  // namespace growstack
