#include "fault/idle_request.hpp"

#include "anywhere/fork_wiped.hpp"
#include "anywhere/futex.hpp"
#include "fault/trace.hpp"

#include <chrono>

namespace growstack::handler {

using namespace std::chrono_literals;

void wake_parked_thread(std::atomic<std::uint32_t>& state) noexcept {
  std::uint32_t seen = state.load(std::memory_order_relaxed);
  // A thread that has a trace to print looks afterwards.
  while (symbol_state_of(seen) != SymbolState::requested &&
         symbol_state_of(seen) != SymbolState::ending) {
    if (state.compare_exchange_weak(seen, symbol_word((seen >> 3U) + 1, symbol_state_of(seen)),
                                    std::memory_order_acq_rel)) {
      futex_wake(state);
      return;
    }
  }
}

std::uint32_t looks_at_idle() noexcept {
  const ForkWiped* const shared = fork_wiped();
  return shared == nullptr ? 0 : shared->looks.load(std::memory_order_acquire);
}

bool have_idle_given_back(std::uint32_t before) noexcept {
  constexpr int most_waits = 10;
  constexpr auto one_wait = 20ms;
  ForkWiped* const shared = fork_wiped();
  if (shared == nullptr || shared->symbolizer_joinable.load(std::memory_order_acquire) == 0) {
    return false;
  }
  // A look says that it goes on before it says that no other one is due, and before it ends it says
  // when the next one is due. So nothing is kept only if no look went on before and after.
  const std::uint32_t looks = shared->looks.load(std::memory_order_acquire);
  const bool is_any_kept = shared->next_look.load(std::memory_order_acquire) != 0;
  if (!is_any_kept && looks % 2 == 0 && shared->looks.load(std::memory_order_relaxed) == looks) {
    return looks != before;
  }
  // Relaxed, because the wake-up orders.
  const std::uint32_t mine = shared->idle_wanted.fetch_add(1, std::memory_order_relaxed) + 1;
  wake_parked_thread(shared->symbol_state);
  const auto is_served = [&](std::uint32_t served) {
    return static_cast<std::int32_t>(served - mine) >= 0;
  };
  for (int waits = 0; waits < most_waits; ++waits) {
    const std::uint32_t served = shared->idle_served.load(std::memory_order_acquire);
    if (is_served(served)) {
      return true;
    }
    futex_wait(shared->idle_served, served, one_wait);
  }
  return is_served(shared->idle_served.load(std::memory_order_acquire));
}

}  // namespace growstack::handler
