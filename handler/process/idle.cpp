#include <growstack/handler/idle.hpp>

#include "process/idle.hpp"

#include "anywhere/fork_wiped.hpp"
#include "process/life_cycle_lock.hpp"
#include "process/symbolizing.hpp"
#include "threads/idle_looks.hpp"
#include "threads/symbolizer.hpp"

#include <cerrno>

namespace growstack::handler {
namespace {

/// Returns whether this process has the thread that looks, which is started if it may be.
bool has_parked_thread() noexcept {
  if (the_symbolizer.is_started()) {
    return true;
  }
  if (in_vfork_child()) {
    return false;  // the thread would be the child's, in the memory of the parent
  }
  const LifeCycleLock lock;
  if (fork_wiped() != nullptr) {
    start_symbolizer();
  }
  return the_symbolizer.is_started();
}

}  // namespace

void set_idle_keeper(const IdleKeeper& keeper) noexcept { keep_idle_keeper(keeper); }

int look_after_idle(std::chrono::milliseconds delay) noexcept {
  if (!has_parked_thread()) {
    return EAGAIN;
  }
  if (!has_next_look()) {
    set_next_look(delay);
  }
  return 0;
}

void give_all_idle_back() noexcept {
  give_alternate_stacks_back();
  if (const IdleKeeper* const keeper = idle_keeper(); keeper != nullptr) {
    keeper->give_all_back();
  }
}

}  // namespace growstack::handler
