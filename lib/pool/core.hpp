// What a StackPool is behind its face: arenas of one kind, their idle stacks, and the caches of
// threads in front of them.
//
// A stack of a pool stays open (published to the fault handler, its first pages committed) from
// when it is made until demand has fallen:
//
//     live      out with somebody
//     cached    in a thread's cache. Taking it from there, and putting it back, is all that a warm
//     pair does warm      in the pool, its memory still there cold      in the pool, and its memory
//     given back, where the strategy lets an open stack cost nothing else; elsewhere it is
//               closed, and its slot free
//
// Those in the pool are known by number, one bit each, lowest first: what is used gathers at low
// addresses, what is given back are runs of neighbours, many stacks by one system call, and arenas
// higher up become empty.
#pragma once

#include "memory/account.hpp"
#include "arenas/arena_set.hpp"
#include "pool/cache.hpp"
#include "pool/registry.hpp"

#include <growstack/stack_pool.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace growstack {

class PoolCore {
 public:
  /// Throws std::system_error.
  explicit PoolCore(const PoolOptions& options);
  PoolCore(const PoolCore&) = delete;
  PoolCore& operator=(const PoolCore&) = delete;

  /// The pool itself ends; its core does with the last stack that is still out.
  void abandon() noexcept;

  [[nodiscard]] Place acquire();
  [[nodiscard]] Place acquire(std::string_view name);
  void release(Place place) noexcept;
  void trim() noexcept;

  [[nodiscard]] PoolStatistics statistics() const;
  [[nodiscard]] std::vector<NamedHighWater> high_water_by_name() const;
  [[nodiscard]] std::size_t resident() const;
  [[nodiscard]] Strategy strategy() const noexcept { return options_.strategy; }
  [[nodiscard]] const std::string& fallback_reason() const noexcept { return fallback_reason_; }
  [[nodiscard]] std::size_t reserve() const noexcept { return arenas_->kind().layout.reserve; }

  // For the registry, under its lock.
  void add_to(ArenaTotals& totals) const noexcept;
  void adopt_cache(PoolCache& cache) noexcept;  ///< of a thread that ends
  void detach_caches() noexcept;
  void before_fork() noexcept { mutex_.lock(); }
  void after_fork_in_parent() noexcept { mutex_.unlock(); }
  void after_fork_in_child() noexcept;

 private:
  ~PoolCore();

  using Batch = std::array<Place, PoolCache::batch>;
  using Lock = std::unique_lock<std::mutex>;

  [[nodiscard]] PoolCache* cache_here() const noexcept;
  [[nodiscard]] PoolCache* find_cache_here() const noexcept;
  [[nodiscard]] PoolCache* make_cache_here();
  [[nodiscard]] Place acquire_slowly(std::string_view name);
  void release_slowly(Place place, std::size_t depth) noexcept;
  void release_with_care(Place place) noexcept;
  [[nodiscard]] std::size_t trim_grown(Place place) noexcept;
  static void name_it(Place place, std::size_t number, std::string_view name) noexcept;
  void look_at_clock(PoolCache& cache) noexcept;

  // Under the lock:
  [[nodiscard]] std::size_t out() const noexcept { return open_ - warm_ - cold_; }
  [[nodiscard]] std::uint32_t take_idle(Batch& taken) noexcept;
  [[nodiscard]] std::uint32_t make(Batch& made);
  [[nodiscard]] std::uint32_t make_in(Arena& arena, Batch& made);
  [[nodiscard]] std::uint32_t take_or_make(Batch& taken);
  void put_idle(Place place) noexcept;
  void put_oldest_idle(PoolCache& cache, std::uint32_t how_many) noexcept;
  void drain(PoolCache& cache) noexcept;
  void drain_caches() noexcept;
  void merge_tallies(PoolCache& cache) noexcept;
  [[nodiscard]] std::size_t number_of(std::string_view name);
  [[nodiscard]] NameTally& tally_of(PoolCache* cache, std::size_t number) noexcept;
  [[nodiscard]] bool follow_demand(std::chrono::nanoseconds now) noexcept;
  [[nodiscard]] std::size_t excess() const noexcept;
  void give_back(std::size_t most) noexcept;
  void give_back_all() noexcept;
  void end_if_nobody_is_out(Lock& lock) noexcept;
  void cool_in_row(Arena& arena, std::uint32_t first, std::uint32_t last) noexcept;
  void begin_to_dismantle(Arena& arena) noexcept;
  void dismantle_a_piece(std::uint32_t most) noexcept;
  void finish_dismantling() noexcept;
  void end_idle_stacks() noexcept;

  template <class Visit>
  void visit_tallies(Visit visit) const;

  StackOptions options_;  ///< of each stack; validated, its strategy is not `automatic`
  std::size_t most_stacks_;
  std::chrono::nanoseconds retention_;
  bool grows_unseen_ =
      false;  ///< no event tells whether a stack has grown: each is trimmed when it is given back
  std::string fallback_reason_;
  Account account_;
  PoolIdentity identity_{};

  std::atomic<std::chrono::nanoseconds::rep> next_look_;  ///< at demand, by the coarse clock
  std::atomic<std::uint64_t> trims_{0};
  std::atomic<std::uint64_t> growth_faults_{0};  ///< of tenancies that have ended

  mutable std::mutex mutex_;
  std::optional<ArenaSet> arenas_;
  std::vector<std::unique_ptr<Arena>> dismantled_;
  std::size_t open_ = 0;
  std::size_t warm_ = 0;
  std::size_t cold_ = 0;
  std::size_t target_ = 0;  ///< stacks that may be in use or warm
  std::chrono::nanoseconds next_halving_{};
  std::uint64_t created_ = 0;
  std::uint64_t misses_ = 0;
  std::vector<std::unique_ptr<NameTally>>
      tallies_;  ///< by number; what no cache counts, or none does any more
  std::vector<PoolCache*> caches_;
  bool abandoned_ = false;
  bool in_forked_child_ =
      false;  ///< and did not start there yet what the strategy needs: threads are gone
};

}  // namespace growstack
