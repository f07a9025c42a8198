// What a StackPool is behind its face: open stacks, and the caches of threads in front of them.
//
// A thread takes stacks from its own cache and puts them back there, without the pool's lock
// (warm_pair.cpp). Whatever is not as usual takes the lock (core.cpp): an empty or a full cache, a
// name that the thread has not met, falling demand. The classes that the core is made of:
//
//     ThreadCache   a thread's own idle stacks     PoolNames     names and tallies
//     OpenStacks    all open stacks, and arenas    Demand        how many may stay warm
//                                                  LearnedDepths how deep they are kept
#pragma once

#include "memory/account.hpp"
#include "pool/cache_table.hpp"
#include "pool/demand.hpp"
#include "pool/learned_depths.hpp"
#include "pool/names.hpp"
#include "pool/open_stacks.hpp"
#include "pool/register.hpp"
#include "pool/thread_cache.hpp"

#include <growstack/stack_pool.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace growstack {

/// Any thread may call any function, but not from a signal handler.
class PoolCore final : public RegisteredPool {
 public:
  /// Whether the program knows of the pool, or call() made it: see pool/kept_pools.hpp. The idle
  /// stacks of the latter count as none (process_counters()), and a thread takes one of them at a
  /// time, so that demand sees how many are needed.
  enum class MadeFor : std::uint8_t { program, calls };

  /// Throws std::system_error, std::bad_alloc.
  explicit PoolCore(const PoolOptions& options, MadeFor made_for = MadeFor::program,
                    bool lock_on_fault = false);
  PoolCore(const PoolCore&) = delete;
  PoolCore& operator=(const PoolCore&) = delete;

  /// Ends the pool. The core lives until the last stack that is out has come back.
  void abandon() noexcept;

  // The warm pair, in warm_pair.cpp:
  [[nodiscard]] OpenSlot acquire();
  [[nodiscard]] OpenSlot acquire(std::string_view name);
  void release(OpenSlot slot) noexcept;
  /// Acquires a stack if that takes no lock. Otherwise returns null.
  [[nodiscard]] OpenSlot acquire_at_once(std::string_view name) noexcept;

  /// Returns whether there was anything to give back.
  bool trim() noexcept;

  // For a pool that was made for calls:
  /// Gives back what exceeds demand, in which what threads keep for themselves does not count.
  /// Returns whether there was anything.
  bool give_excess_back() noexcept;
  /// Returns whether no stack is out. If nobody acquires one, that stays so: whoever gave a stack
  /// back does not touch the pool any more.
  [[nodiscard]] bool is_idle() noexcept;

  [[nodiscard]] PoolStatistics statistics() const;
  [[nodiscard]] std::vector<NamedHighWater> high_water_by_name() const;
  [[nodiscard]] std::size_t resident() const;
  [[nodiscard]] Strategy strategy() const noexcept { return options_.strategy; }
  [[nodiscard]] const std::string& fallback_reason() const noexcept { return fallback_reason_; }
  [[nodiscard]] std::size_t reserve() const noexcept { return stacks_->kind().layout.reserve; }

  void add_to(ArenaTotals& totals) const noexcept override;
  void adopt_cache(ThreadCache& cache) noexcept override;
  void detach_caches() noexcept override;
  void before_fork() noexcept override { mutex_.lock(); }
  void after_fork_in_parent() noexcept override { mutex_.unlock(); }
  void after_fork_in_child() noexcept override;

 private:
  using Lock = std::unique_lock<std::mutex>;

  ~PoolCore();
  [[nodiscard]] std::size_t most_kept() const noexcept;
  [[nodiscard]] LearnedDepths::Settings depths_of(const PoolOptions& options) const noexcept;

  /// A tenancy that has ended.
  struct Ended {
    std::size_t number;  ///< of the name
    std::size_t depth;   ///< bytes that were committed at its deepest moment, or 0: not noticed
    bool is_measured;    ///< the depth is known; otherwise it is within what is kept
    bool was_sample;
  };

  // In warm_pair.cpp, without the lock:
  void release_with_care(OpenSlot slot) noexcept;
  [[nodiscard]] Ended end_marked(OpenSlot slot, std::uint32_t marked) noexcept;
  void flatten_grown(OpenSlot slot, std::size_t depth, std::size_t kept,
                     std::uint32_t marked) noexcept;
  void make_sample(OpenSlot slot) noexcept;
  static void name_it(OpenSlot slot, std::size_t number, std::string_view name) noexcept;
  static void count(NameTally& tally, const Ended& ended) noexcept;
  /// Calls use(list, is_full) with the list of the cache that idle stacks of a name go to.
  template <class Use>
  void use_list(ThreadCache& cache, std::size_t number, Use use) {
    NameHere* const here = depths_.is_apart(number) ? cache.name(number) : nullptr;
    if (here != nullptr) {
      use(here->stacks, here->stacks.full() || !cache.may_keep(here->stacks.count()));
    } else {
      use(cache.stacks, cache.stacks.full());
    }
  }
  std::chrono::nanoseconds look_at_clock(ThreadCache& cache) noexcept;

  // They take the lock:
  [[nodiscard]] OpenSlot acquire_slowly(std::string_view name);
  [[nodiscard]] OpenSlot acquire_with_lock(ThreadCache* cache, std::string_view name);
  void end_unusable(OpenSlot slot) noexcept;
  void release_slowly(OpenSlot slot, const Ended& ended) noexcept;
  [[nodiscard]] ThreadCache* make_cache_here();

  // Under the lock:
  [[nodiscard]] OpenSlot take_for(ThreadCache* cache, std::size_t number);
  [[nodiscard]] std::uint32_t take_or_make(Batch& taken, std::size_t number);
  template <std::size_t most>
  void put_oldest(IdleList<most>& list, std::uint32_t how_many) noexcept {
    list.remove_if([&](OpenSlot slot) {
      const bool goes = how_many > 0;
      if (goes) {
        --how_many;
        stacks_->put(slot);
      }
      return goes;
    });
  }
  void put_too_deep(ThreadCache& cache) noexcept;
  void drain(ThreadCache& cache) noexcept;
  void drain_caches() noexcept;
  [[nodiscard]] std::uint32_t pieces_at_a_time() const noexcept;
  void note_greatest() noexcept;
  [[nodiscard]] bool drain_idle_caches_a_piece() noexcept;
  void begin_to_flatten() noexcept;
  [[nodiscard]] bool flatten_a_piece() noexcept;
  [[nodiscard]] bool follow_demand(std::chrono::nanoseconds now) noexcept;
  void end_if_nobody_is_out(Lock& lock) noexcept;

  [[nodiscard]] std::size_t live() const noexcept;

  const MadeFor made_for_;
  StackOptions options_;  ///< of each stack; validated, and its strategy is not `automatic`
  std::string fallback_reason_;
  Account account_;
  PoolIdentity identity_{};

  /// By the coarse clock. Written under the lock, read by any thread: a stale value makes a thread
  /// take the lock once in vain, or look one interval of tenancies later.
  std::atomic<std::chrono::nanoseconds::rep> next_look_;
  std::atomic<std::uint64_t> trims_{0};
  std::atomic<std::uint64_t> growth_faults_{0};  ///< of tenancies that have ended

  mutable std::mutex mutex_;
  std::optional<OpenStacks> stacks_;
  Demand demand_;
  /// Of a pool for calls: as many stacks were out at the same time since the last look. Nobody is
  /// in a call most of the time, and yet the next one wants its stack.
  std::size_t peak_ = 0;
  PoolNames names_;
  std::vector<ThreadCache*> caches_;
  LearnedDepths depths_{names_, caches_};
  bool flattens_ = false;             ///< some stacks may be deeper than they are kept
  std::size_t flattened_caches_ = 0;  ///< caches that have none of them any more
  std::size_t greatest_ = 0;          ///< bytes that one of them may have
  std::size_t looked_caches_ = 0;     ///< caches whose use in the last interval was looked at
  std::uint64_t misses_ = 0;
  bool abandoned_ = false;
};

}  // namespace growstack
