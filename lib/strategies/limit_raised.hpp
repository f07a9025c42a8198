// The order in which a trim raises the limit and takes memory away.
#pragma once

#include <growstack/handler/ranges.hpp>
#include <growstack/handler/slot.hpp>

#include <atomic>
#include <cstdint>

namespace growstack {

/// Raises the limit of a slot to `keep_from`, calls `take_memory` with the limit that was there,
/// and returns what that returned.
///
/// The limit is raised first, so that a thread that faults meanwhile commits again. But what it
/// commits may be taken away afterwards, and the limit must never claim memory that is not there.
/// So such a thread does not lower the limit, and its growth is waited for. It marks that memory
/// may stay committed below the limit (`left_below_mark`).
template <class TakeMemory>
[[nodiscard]] int with_limit_raised(handler::SlotRecord& slot, std::uintptr_t keep_from,
                                    TakeMemory take_memory) noexcept {
  slot.marks.fetch_or(handler::trimming_mark, std::memory_order_seq_cst);
  const int error = take_memory(slot.limit.exchange(keep_from, std::memory_order_acq_rel));
  handler::wait_for_faults(slot);
  slot.marks.fetch_and(~handler::trimming_mark, std::memory_order_release);
  return error;
}

}  // namespace growstack
