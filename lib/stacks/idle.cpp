// What is kept for the next stack although nobody uses it, and how it goes.
#include <growstack/stack.hpp>

#include "arenas/idle_arenas.hpp"
#include "pool/kept_pools.hpp"

#include <growstack/handler/idle.hpp>
#include <growstack/handler/init_order.hpp>

#include <algorithm>
#include <chrono>

namespace growstack {
namespace {

std::chrono::milliseconds give_due_back() noexcept {
  using Time = std::chrono::milliseconds;
  const Time pools = give_due_kept_pools_back();  // first, because their arenas are kept next
  const Time arenas = give_due_arenas_back();
  return std::min(pools, arenas) != Time(0) ? std::min(pools, arenas) : std::max(pools, arenas);
}

constinit const handler::IdleKeeper idle_keeper{.give_all_back = trim,
                                                .give_due_back = give_due_back};

struct KeepIdle {
  KeepIdle() noexcept { handler::set_idle_keeper(idle_keeper); }
};
[[gnu::init_priority(handler::init_dependents)]] const KeepIdle keep_idle;

}  // namespace

void trim() noexcept {
  give_kept_pools_back();  // first, because their arenas are kept next
  give_idle_arenas_back();
  handler::give_alternate_stacks_back();
}

}  // namespace growstack
