// What is kept for the next stack although nobody uses it, and how it goes.
#include <growstack/stack.hpp>

#include "arenas/idle_arenas.hpp"

#include <growstack/handler/idle.hpp>
#include <growstack/handler/init_order.hpp>

namespace growstack {
namespace {

std::chrono::milliseconds give_due_back() noexcept { return give_due_arenas_back(); }

constinit const handler::IdleKeeper idle_keeper{.give_all_back = trim,
                                                .give_due_back = give_due_back};

struct KeepIdle {
  KeepIdle() noexcept { handler::set_idle_keeper(idle_keeper); }
};
[[gnu::init_priority(handler::init_dependents)]] const KeepIdle keep_idle;

}  // namespace

void trim() noexcept {
  give_idle_arenas_back();
  handler::give_alternate_stacks_back();
}

}  // namespace growstack
