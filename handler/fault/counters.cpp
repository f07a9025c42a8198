#include "fault/counters.hpp"

#include <growstack/handler/handler.hpp>

namespace growstack::handler {

void count_growth(SlotRecord& slot, bool remote) noexcept {
  slot.growth_faults.fetch_add(1, std::memory_order_relaxed);
  tally.growth.add_one();
  if (remote) {
    slot.remote_growth_faults.fetch_add(1, std::memory_order_relaxed);
    tally.remote_growth.add_one();
  }
}

Counters counters() noexcept {
  return {.growth = tally.growth.value(),
          .remote_growth = tally.remote_growth.value(),
          .spurious = tally.spurious.value(),
          .lost_signal_frame = tally.lost_signal_frame.value(),
          .foreign = tally.foreign.value(),
          .overflow = tally.overflow.value(),
          .by_helper = tally.by_helper.value(),
          .helper_missing = tally.helper_missing.value()};
}

}  // namespace growstack::handler
