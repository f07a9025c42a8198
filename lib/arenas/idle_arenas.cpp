#include "arenas/idle_arenas.hpp"

#include "memory/coarse_clock.hpp"

#include <growstack/handler/idle.hpp>
#include <growstack/handler/init_order.hpp>

#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <iterator>
#include <mutex>
#include <utility>

namespace growstack {
namespace {

struct IdleArena {
  std::unique_ptr<Arena> arena;  ///< null: the place is free
  std::chrono::nanoseconds since{};

  [[nodiscard]] bool is_of(const Kind& kind) const noexcept {
    return arena != nullptr && arena->kind() == kind;
  }
  [[nodiscard]] bool is_due(std::chrono::nanoseconds now) const noexcept {
    return arena != nullptr && now - since >= kept_for;
  }
};

/// One of each kind is kept. The one that was used last stands first. Arenas are destroyed under
/// the lock, so that a forked child never inherits one that is half destroyed.
struct IdleArenas {
  std::mutex lock;
  std::array<IdleArena, 4> all;
  std::atomic<std::uint64_t> destroyed{0};  ///< so far; raised under the lock

  void destroy(std::unique_ptr<Arena>& arena) noexcept {
    if (arena != nullptr) {
      arena.reset();
      destroyed.fetch_add(1, std::memory_order_release);
    }
  }

  void destroy_due(std::chrono::nanoseconds now) noexcept {
    for (IdleArena& each : all) {
      if (each.is_due(now)) {
        destroy(each.arena);
      }
    }
  }

  IdleArena* find(const Kind& kind) noexcept {
    return std::find_if(all.begin(), all.end(),
                        [&](const IdleArena& each) { return each.is_of(kind); });
  }

  /// Returns the place for an arena of that kind, which stands first then: the one that has such an
  /// arena, a free one, or the one that was not used for the longest time.
  IdleArena& place_for(const Kind& kind) noexcept {
    IdleArena* place = find(kind);
    if (place == all.end()) {
      place = std::find_if(all.begin(), std::prev(all.end()),
                           [](const IdleArena& each) { return each.arena == nullptr; });
    }
    std::rotate(all.begin(), place, std::next(place));
    return all.front();
  }
};

/// Made when the program is loaded, and never destroyed, for the reasons that TheSingleStacks has.
/// Whoever uses arenas takes this lock after its own.
class TheIdleArenas {
 public:
  TheIdleArenas() : idle_arenas_(*new IdleArenas) {
    static_cast<void>(pthread_atfork(before_fork, in_parent, in_child));
  }
  IdleArenas& operator*() const noexcept { return idle_arenas_; }

 private:
  static void before_fork() noexcept;
  static void in_parent() noexcept;
  static void in_child() noexcept;

  IdleArenas& idle_arenas_;
};

[[gnu::init_priority(handler::init_shelves)]] const TheIdleArenas the_idle_arenas;

void TheIdleArenas::before_fork() noexcept { (*the_idle_arenas).lock.lock(); }
void TheIdleArenas::in_parent() noexcept { (*the_idle_arenas).lock.unlock(); }

/// Nobody may watch in a child what a userfaultfd watches here. Such arenas are due at once: they
/// go at the next look, and not now, because most children exec soon.
void TheIdleArenas::in_child() noexcept {
  IdleArenas& idle = *the_idle_arenas;
  for (IdleArena& each : idle.all) {
    if (each.arena != nullptr && each.arena->kind().description().event == GrowthEvent::bus_error) {
      each.since = std::chrono::nanoseconds::min() / 2;
    }
  }
  idle.lock.unlock();
}

}  // namespace

void keep_idle(std::unique_ptr<Arena> arena) noexcept {
  if (!arena->is_worth_keeping()) {
    return;
  }
  IdleArenas& idle = *the_idle_arenas;
  {
    const std::lock_guard guard(idle.lock);
    const std::chrono::nanoseconds now = coarse_now();
    idle.destroy_due(now);
    IdleArena& place = idle.place_for(arena->kind());
    if (!place.is_of(arena->kind()) || place.arena->slot_count() < arena->slot_count()) {
      idle.destroy(place.arena);
      place.arena = std::move(arena);
    }
    place.since = now;
  }
  // If there is no thread to do so, it is seen to when the next stack is made or ended.
  static_cast<void>(handler::look_after_idle(kept_for));
}

std::unique_ptr<Arena> take_idle(const Kind& kind) noexcept {
  IdleArenas& idle = *the_idle_arenas;
  const std::lock_guard guard(idle.lock);
  idle.destroy_due(coarse_now());
  IdleArena* const found = idle.find(kind);
  return found == idle.all.end() ? nullptr : std::move(found->arena);
}

void give_idle_arenas_back() noexcept {
  IdleArenas& idle = *the_idle_arenas;
  const std::lock_guard guard(idle.lock);
  for (IdleArena& each : idle.all) {
    idle.destroy(each.arena);
  }
}

std::uint64_t idle_arenas_given_back() noexcept {
  return (*the_idle_arenas).destroyed.load(std::memory_order_acquire);
}

std::chrono::milliseconds give_due_arenas_back() noexcept {
  IdleArenas& idle = *the_idle_arenas;
  const std::lock_guard guard(idle.lock);
  const std::chrono::nanoseconds now = coarse_now();
  idle.destroy_due(now);
  std::chrono::milliseconds next{0};
  for (const IdleArena& each : idle.all) {
    if (each.arena != nullptr) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(each.since + kept_for - now);
      next = next.count() == 0 ? left : std::min(next, left);
    }
  }
  return next;
}

}  // namespace growstack
