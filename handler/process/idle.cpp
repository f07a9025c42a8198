#include <growstack/handler/idle.hpp>

#include "process/idle.hpp"

#include "threads/idle_looks.hpp"
#include "threads/symbolizer.hpp"

#include <cerrno>

namespace growstack::handler {

void set_idle_keeper(const IdleKeeper& keeper) noexcept { keep_idle_keeper(keeper); }

int look_after_idle(std::chrono::milliseconds delay) noexcept {
  if (!the_symbolizer.is_started()) {
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
