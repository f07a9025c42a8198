#include "threads/idle_looks.hpp"

#include <growstack/handler/init_order.hpp>

#include "anywhere/fork_wiped.hpp"
#include "anywhere/futex.hpp"
#include "fault/idle_request.hpp"

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <ctime>

namespace growstack::handler {
namespace {

using namespace std::chrono_literals;

constinit std::atomic<const IdleKeeper*> the_idle_keeper{nullptr};
constinit std::mutex mutex;

/// Registered after all others, so that it is taken first.
struct HoldOverFork {
  HoldOverFork() noexcept {
    static_cast<void>(pthread_atfork(before_fork, after_fork, after_fork));
  }
  static void before_fork() noexcept { mutex.lock(); }
  static void after_fork() noexcept { mutex.unlock(); }
};
[[gnu::init_priority(init_last)]] const HoldOverFork hold_over_fork;

/// Never 0, which means never.
std::int64_t now() noexcept {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return std::chrono::nanoseconds(std::chrono::seconds(time.tv_sec)).count() + time.tv_nsec;
}

/// Serves faults that were refused memory, if there are any. Under the lock.
void give_back_for_faults(ForkWiped& shared) noexcept {
  const std::uint32_t wanted = shared.idle_wanted.load(std::memory_order_relaxed);
  if (wanted == shared.idle_served.load(std::memory_order_relaxed)) {
    return;
  }
  if (const IdleKeeper* const keeper = idle_keeper(); keeper != nullptr) {
    keeper->give_all_back();
  }
  shared.idle_served.store(wanted, std::memory_order_release);
  futex_wake(shared.idle_served);
}

}  // namespace

void keep_idle_keeper(const IdleKeeper& keeper) noexcept {
  the_idle_keeper.store(&keeper, std::memory_order_release);
}

const IdleKeeper* idle_keeper() noexcept { return the_idle_keeper.load(std::memory_order_acquire); }

std::mutex& idle_lock() noexcept { return mutex; }

bool has_next_look() noexcept {
  const ForkWiped* const shared = fork_wiped();
  return shared != nullptr && shared->next_look.load(std::memory_order_seq_cst) != 0;
}

void set_next_look(std::chrono::nanoseconds delay) noexcept {
  ForkWiped& shared = *fork_wiped();
  std::int64_t never = 0;
  if (shared.next_look.compare_exchange_strong(never, now() + delay.count(),
                                               std::memory_order_relaxed)) {
    wake_parked_thread(shared.symbol_state);
  }
}

/// Says that no look is due before it looks: whoever keeps something from then on sets the time
/// anew, whether or not it was still found.
std::chrono::nanoseconds look_at_idle() noexcept {
  constexpr auto for_ever = 24h;
  constexpr auto until_lock_is_free = 20ms;
  ForkWiped& shared = *fork_wiped();
  std::atomic<std::int64_t>& next_look = shared.next_look;
  const std::int64_t due = next_look.load(std::memory_order_relaxed);
  const bool is_asked = shared.idle_wanted.load(std::memory_order_relaxed) !=
                        shared.idle_served.load(std::memory_order_relaxed);
  if (due == 0 && !is_asked) {
    return for_ever;
  }
  if (const std::chrono::nanoseconds left(due - now()); left > 0ns && !is_asked) {
    return left;
  }
  const std::unique_lock lock(mutex, std::try_to_lock);
  if (!lock) {
    return until_lock_is_free;
  }
  shared.looks.fetch_add(1, std::memory_order_relaxed);  // seen by who sees the next store
  give_back_for_faults(shared);
  next_look.store(0, std::memory_order_seq_cst);
  const IdleKeeper* const keeper = idle_keeper();
  const std::chrono::nanoseconds delay = keeper == nullptr ? 0ns : keeper->give_due_back();
  if (std::int64_t never = 0; delay != 0ns) {
    next_look.compare_exchange_strong(never, now() + delay.count(), std::memory_order_relaxed);
  }
  shared.looks.fetch_add(1, std::memory_order_release);
  return delay;  // if 0, looks again whether somebody set it meanwhile
}

}  // namespace growstack::handler
