#include "arenas/single_stacks.hpp"

#include "arenas/arena_set.hpp"
#include "arenas/idle_arenas.hpp"

#include <growstack/handler/init_order.hpp>

#include <pthread.h>

#include <map>
#include <mutex>

namespace growstack {
namespace {

/// The arenas of single stacks by kind. A new arena has as many slots as all others of its kind
/// together: so one stack takes the least address space that is possible, and many stacks take few
/// mappings. Arenas without a live slot are not here but in idle_arenas.cpp.
struct SingleStacks {
  std::mutex lock;
  std::map<Kind, ArenaSet> kinds;

  ArenaSet& arenas_of(const Kind& kind) {
    return kinds.try_emplace(kind, kind, process_account(), ArenaSizes{}).first->second;
  }

  void forget_if_empty(ArenaSet& arenas) noexcept {
    if (arenas.arenas().empty()) {
      kinds.erase(Kind(arenas.kind()));
    }
  }
};

/// Made when the program is loaded, because a child that is forked while another thread makes it
/// would find it half made forever. Never destroyed, because stacks with static storage may outlive
/// it.
class TheSingleStacks {
 public:
  TheSingleStacks() : single_stacks_(*new SingleStacks) {
    // A child must not inherit a lock from a thread that it does not have.
    static_cast<void>(pthread_atfork(before_fork, after_fork, after_fork));
  }
  SingleStacks& operator*() const noexcept { return single_stacks_; }

 private:
  static void before_fork() noexcept;
  static void after_fork() noexcept;

  SingleStacks& single_stacks_;
};

[[gnu::init_priority(handler::init_registers)]] const TheSingleStacks the_single_stacks;

void TheSingleStacks::before_fork() noexcept { (*the_single_stacks).lock.lock(); }
void TheSingleStacks::after_fork() noexcept { (*the_single_stacks).lock.unlock(); }

}  // namespace

OpenSlot open_single_stack(const StackOptions& options) {
  SingleStacks& all = *the_single_stacks;
  const std::lock_guard guard(all.lock);
  ArenaSet& arenas = all.arenas_of(Kind::of(options));
  try {
    if (!arenas.has_room()) {
      arenas.add(take_idle(arenas.kind()));
    }
    return arenas.open_in_one([&](Arena& arena) { return arena.open(options); });
  } catch (...) {
    all.forget_if_empty(arenas);
    throw;
  }
}

void close_single_stack(OpenSlot slot) noexcept {
  SingleStacks& all = *the_single_stacks;
  const std::lock_guard guard(all.lock);
  Arena& arena = slot.arena();
  ArenaSet& arenas = all.kinds.find(arena.kind())->second;
  arenas.close(arena, slot.index());
  if (arena.open_count() == 0) {
    keep_idle(arenas.remove(arena));
    all.forget_if_empty(arenas);
  }
}

void add_single_stacks_to(ArenaTotals& totals) {
  SingleStacks& all = *the_single_stacks;
  const std::lock_guard guard(all.lock);
  for (const auto& [kind, arenas] : all.kinds) {
    for (const auto& arena : arenas.arenas()) {
      totals.add(*arena);
    }
  }
}

}  // namespace growstack
