#include <growstack/handler/idle.hpp>

#include "process/idle.hpp"

#include <atomic>

namespace growstack::handler {
namespace {

/// Set once, while the program is loaded; read by uninstall().
constinit std::atomic<const IdleKeeper*> idle_keeper{nullptr};

}  // namespace

void set_idle_keeper(const IdleKeeper& keeper) noexcept {
  idle_keeper.store(&keeper, std::memory_order_release);
}

int look_after_idle(std::chrono::milliseconds /*delay*/) noexcept { return 0; }

void give_all_idle_back() noexcept {
  give_alternate_stacks_back();
  if (const IdleKeeper* const keeper = idle_keeper.load(std::memory_order_acquire);
      keeper != nullptr) {
    keeper->give_all_back();
  }
}

}  // namespace growstack::handler
