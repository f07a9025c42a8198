// The register of the kept pools, and of what threads remember of them.
#pragma once

#include "pool/core.hpp"
#include "pool/kept_here.hpp"
#include "pool/kept_pools.hpp"

#include <growstack/options.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

namespace growstack {

struct EndCore {
  void operator()(PoolCore* core) const noexcept { core->abandon(); }
};
using OwnedCore = std::unique_ptr<PoolCore, EndCore>;

struct KeptPool {
  OwnedCore core{};  ///< null: the place is free
  KeptOptions options{};
  std::uint32_t users = 0;  ///< threads that use it without being remembered here
  /// A forked child has it from its parent. Its stacks that are out go back to it, and no others
  /// are acquired from it, because the threads that its strategy needs are the parent's.
  bool is_inherited = false;
  std::uint64_t acquired = 0;   ///< stacks so far, when it was looked at last
  std::uint64_t last_used = 0;  ///< the number of the look that found it used

  [[nodiscard]] explicit operator bool() const noexcept { return core != nullptr; }
};

/// All kept pools, and what threads remember of them. Used under its lock, which is never held
/// while memory is given back: a pool that is trimmed has a user meanwhile, and one that ends was
/// taken out. Places do not move.
struct KeptPools {
  /// Held while memory is given back, also over a fork. So whoever needs memory waits for what is
  /// on its way, and no child inherits a pool that is half ended. Taken before `lock`.
  std::mutex giving;
  /// How often that gave something. Raised under `giving`, at the end.
  std::atomic<std::uint64_t> times_given{0};
  std::mutex lock;
  /// Twice as many as are in use, because a forked child may have those of its parent besides.
  std::array<KeptPool, 2 * most_kept_pools> places{};
  KeptHere* threads = nullptr;
  std::uint64_t looks = 0;
  /// By the coarse clock. For processes that may not have the thread that looks after idle stacks.
  std::chrono::nanoseconds next_look{};

  void note_given(bool has_given) noexcept {
    times_given.fetch_add(has_given ? 1 : 0, std::memory_order_release);
  }

  [[nodiscard]] KeptPool* find(const StackOptions& options) noexcept;

  /// Returns a place for one more pool; null if there are as many as there may be.
  [[nodiscard]] KeptPool* free_place() noexcept;

  /// Notes whether the pool was used since the last look. Returns whether it was.
  bool look_at(KeptPool& pool) const noexcept;

  /// Lets no thread acquire a stack of the pool without the lock.
  void let_threads_forget(const PoolCore& core) noexcept;

  /// Takes the pool out if nobody uses it and no stack of it is out.
  [[nodiscard]] OwnedCore take_out_if_idle(KeptPool& pool) noexcept;

  /// Takes out the idle pool that was used longest ago, if there is one.
  [[nodiscard]] OwnedCore take_out_least_recently_used() noexcept;
};

/// Returns the one register of this process.
[[nodiscard]] KeptPools& kept_pools() noexcept;

/// A use of a pool that keeps the pool from ending. May be of none.
class PoolUse {
 public:
  PoolUse() = default;
  /// Under the lock.
  explicit PoolUse(KeptPool& pool) noexcept : pool_(&pool) { ++pool.users; }
  PoolUse(PoolUse&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)) {}
  PoolUse& operator=(PoolUse&&) = delete;
  PoolUse(const PoolUse&) = delete;
  PoolUse& operator=(const PoolUse&) = delete;
  ~PoolUse() {
    if (pool_ != nullptr) {
      const std::lock_guard guard(kept_pools().lock);
      --pool_->users;
    }
  }

  explicit operator bool() const noexcept { return pool_ != nullptr; }
  [[nodiscard]] PoolCore& core() const noexcept { return *pool_->core; }

 private:
  KeptPool* pool_ = nullptr;
};

}  // namespace growstack
