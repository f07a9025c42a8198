// What a thread remembers of the kept pools: those of the options that it used last.
#pragma once

#include "pool/biased_lock.hpp"

#include <growstack/options.hpp>

#include <algorithm>
#include <array>
#include <cstddef>

namespace growstack {

class PoolCore;

/// The options of stacks that are alike: all but the name.
class KeptOptions {
 public:
  KeptOptions() = default;
  explicit KeptOptions(const StackOptions& options)
      : reserve_(options.reserve),
        guard_(options.guard),
        policy_(options.policy),
        strategy_(options.strategy),
        lock_on_fault_(options.lock_on_fault),
        core_depth_(options.core_depth) {}

  [[nodiscard]] bool are_those_of(const StackOptions& options) const noexcept {
    // Names each member, so that a new one cannot be forgotten here.
    const auto& [reserve, guard, policy, strategy, lock_on_fault, core_depth, name] = options;
    static_cast<void>(name);
    return reserve == reserve_ && guard == guard_ && strategy == strategy_ &&
           core_depth == core_depth_ && lock_on_fault == lock_on_fault_ && policy == policy_;
  }

 private:
  std::size_t reserve_ = 0;
  std::size_t guard_ = 0;
  GrowthPolicy policy_{};
  Strategy strategy_{};
  bool lock_on_fault_ = false;
  std::size_t core_depth_ = 0;
};

/// The owner reads it under its own lock, and adds to it under the lock of the kept pools, too.
/// Whoever ends a pool holds the latter, and seizes the former of those who remember the pool.
class KeptHere {
 public:
  BiasedLock lock;
  KeptHere* next = nullptr;  ///< in the list of all of them

  /// Returns the pool of these options, or null if it is not remembered.
  [[nodiscard]] PoolCore* find(const StackOptions& options) const noexcept {
    for (const Entry& entry : entries_) {
      if (entry.pool != nullptr && entry.options.are_those_of(options)) [[likely]] {
        return entry.pool;
      }
    }
    return nullptr;
  }

  /// Forgets the pool that was remembered first, if there is no room.
  void remember(const KeptOptions& options, PoolCore& pool) noexcept {
    forget(pool);
    std::copy_backward(entries_.begin(), entries_.end() - 1, entries_.end());
    entries_.front() = {.options = options, .pool = &pool};
  }

  [[nodiscard]] bool remembers(const PoolCore& pool) const noexcept {
    return std::any_of(entries_.begin(), entries_.end(),
                       [&](const Entry& entry) { return entry.pool == &pool; });
  }

  void forget(const PoolCore& pool) noexcept {
    for (Entry& entry : entries_) {
      if (entry.pool == &pool) {
        entry.pool = nullptr;
      }
    }
  }
  void forget_all() noexcept { entries_ = {}; }

 private:
  struct Entry {
    KeptOptions options{};
    PoolCore* pool = nullptr;
  };
  std::array<Entry, 4> entries_{};
};

/// Null in a thread that has acquired no kept stack yet, or is about to end. Has neither a
/// constructor nor a destructor, so that it works from a thread's first instruction to its last.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local KeptHere* kept_here;

/// Ends what the calling thread remembers, because it is about to end.
void end_kept_here() noexcept;

}  // namespace growstack
