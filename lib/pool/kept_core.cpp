// What the pools that keep stacks for calls need of a PoolCore, and what differs in them.
#include "memory/coarse_clock.hpp"
#include "pool/core.hpp"

namespace growstack {

bool PoolCore::give_excess_back() noexcept {
  const Lock lock(mutex_);
  drain_caches();
  const std::size_t committed = account_.used();
  while (follow_demand(coarse_now())) {
  }
  peak_ = stacks_->out();
  return account_.used() < committed;
}

bool PoolCore::is_idle() noexcept {
  const Lock lock(mutex_);
  drain_caches();
  return stacks_->out() == 0;
}

void PoolCore::add_to(ArenaTotals& totals) const noexcept {
  const Lock lock(mutex_);
  if (made_for_ == MadeFor::calls) {
    const std::size_t live_now = live();
    totals.stacks += live_now;
    totals.arenas += live_now == 0 ? 0 : stacks_->arenas().size();
    totals.reserved += live_now * reserve();
    totals.committed += account_.used();
    return;
  }
  for (const auto& arena : stacks_->arenas()) {
    totals.add(*arena);
  }
}

}  // namespace growstack
