// The order in which a trim raises the limit and takes memory away.
#pragma once

#include <growstack/handler/ranges.hpp>
#include <growstack/handler/slot.hpp>

#include <atomic>
#include <cstdint>

namespace growstack {

/// What a slot was like just before its limit was raised.
struct BeforeTrim {
  std::uintptr_t limit = 0;
  bool is_left_below = false;  ///< memory may be committed below the limit, also in use before
};

/// Raises the limit of a slot to `keep_from`, calls `take_memory` with what was there before, and
/// returns what that returned.
///
/// The limit is raised first, so that a thread that faults meanwhile commits again. But what it
/// commits may be taken away afterwards, and the limit must never claim memory that is not there.
/// So such a thread does not lower the limit, and its growth is waited for. Memory that stays
/// committed below the limit does no harm; handler::left_below_mark tells the next trim of it.
template <class TakeMemory>
[[nodiscard]] int with_limit_raised(handler::SlotRecord& slot, std::uintptr_t keep_from,
                                    TakeMemory take_memory) noexcept {
  slot.marks.fetch_or(handler::trimming_mark, std::memory_order_seq_cst);
  const std::uint32_t marks =
      slot.marks.fetch_and(~handler::left_below_mark, std::memory_order_acq_rel);
  // Asked before the limit: a growth that ended before has lowered it.
  const bool is_growing = handler::has_faults(slot);
  const int error = take_memory(
      BeforeTrim{.limit = slot.limit.exchange(keep_from, std::memory_order_acq_rel),
                 .is_left_below = is_growing || (marks & handler::left_below_mark) != 0});
  handler::wait_for_faults(slot);
  slot.marks.fetch_and(~handler::trimming_mark, std::memory_order_release);
  if (error != 0) {
    slot.marks.fetch_or(handler::left_below_mark, std::memory_order_release);
  }
  return error;
}

}  // namespace growstack
