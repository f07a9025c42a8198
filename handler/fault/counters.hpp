// What handler::counters() tells, as it is counted.
#pragma once

#include <growstack/handler/slot.hpp>

#include <atomic>
#include <cstdint>

namespace growstack::handler {

/// One kind of event. Written by whoever sees one, read by counters(); only ever a statistic.
class EventCount {
 public:
  void add_one() noexcept { events_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t value() const noexcept {
    return events_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t> events_{0};
};

/// The kinds, as in Counters.
struct Tally {
  EventCount growth;
  EventCount remote_growth;
  EventCount spurious;
  EventCount lost_signal_frame;
  EventCount foreign;
  EventCount overflow;
  EventCount by_helper;
  EventCount helper_missing;
};
inline constinit Tally tally;

/// Counts a growth that is about to happen, in the process and in the slot. `remote`: the stack
/// pointer of the thread that touched the stack is elsewhere.
void count_growth(SlotRecord& slot, bool remote) noexcept;

}  // namespace growstack::handler
