// The order in which a trim raises the limit and takes memory away.
#pragma once

#include <growstack/handler/ranges.hpp>
#include <growstack/handler/slot.hpp>

#include <atomic>
#include <cstdint>

namespace growstack {

/// Raises the limit of a slot to `keep_from`, calls `take_memory`, and returns what that returned.
///
/// The limit is raised first, so that a thread that faults meanwhile commits again. It is raised a
/// second time at the end, whether or not `take_memory` failed: the memory that such a thread
/// committed may have been taken away afterwards, and the limit must never claim memory that is not
/// there. So that thread must have lowered the limit before. Memory that stays committed below the
/// limit does no harm.
template <class TakeMemory>
[[nodiscard]] int with_limit_raised(handler::SlotRecord& slot, std::uintptr_t keep_from,
                                    TakeMemory take_memory) noexcept {
  slot.limit.store(keep_from, std::memory_order_release);
  const int error = take_memory();
  handler::wait_for_faults(slot);
  slot.limit.store(keep_from, std::memory_order_release);
  return error;
}

}  // namespace growstack
