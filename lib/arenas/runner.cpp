#include "arenas/runner.hpp"

#include <growstack/handler/init_order.hpp>

#include <atomic>

namespace growstack {
namespace {

/// The forks that led to this process. Written in a forked child while it has one thread.
struct Forks {
  std::atomic<std::uint32_t> count{0};
  /// The thread that called the last of them, and the first fork of those that it called in a row:
  /// this thread exists since before that one.
  std::atomic<pthread_t> survivor{};
  std::atomic<std::uint32_t> first_of_survivor{0};
};
constinit Forks all_forks;

void note_fork() noexcept {
  const std::uint32_t count = all_forks.count.load(std::memory_order_relaxed) + 1;
  const pthread_t self = pthread_self();
  if (count == 1 || pthread_equal(all_forks.survivor.load(std::memory_order_relaxed), self) == 0) {
    all_forks.first_of_survivor.store(count, std::memory_order_relaxed);
  }
  all_forks.survivor.store(self, std::memory_order_relaxed);
  all_forks.count.store(count, std::memory_order_relaxed);
}

/// ENOMEM at worst: then what ran in other threads seems to run on in a child.
struct WatchForks {
  WatchForks() noexcept { static_cast<void>(pthread_atfork(nullptr, nullptr, note_fork)); }
};
[[gnu::init_priority(handler::init_registers)]] const WatchForks watch_forks;

}  // namespace

Runner Runner::here(std::uintptr_t caller) noexcept {
  return {.forks = all_forks.count.load(std::memory_order_relaxed),
          .thread = pthread_self(),
          .caller = caller};
}

bool Runner::exists() const noexcept {
  return forks == all_forks.count.load(std::memory_order_relaxed) ||
         (pthread_equal(thread, all_forks.survivor.load(std::memory_order_relaxed)) != 0 &&
          forks + 1 >= all_forks.first_of_survivor.load(std::memory_order_relaxed));
}

}  // namespace growstack
