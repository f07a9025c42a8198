// One growth: how far, by whom, and the new limit.
#pragma once

#include <growstack/handler/slot.hpp>

#include <cstdint>

namespace growstack::handler {

/// Commits what a touch at `address` asks for, in the thread that the range's committer names. If
/// that is the helper, and it is missing, gives no answer in time or is refused the memory, commits
/// in the calling thread. If all of the plan's step is refused, commits the part that the touch
/// needs.
/// Returns 0, also if another thread was first; EDOM if the plan declined; or the errno of
/// Operations::commit. The caller holds the slot pinned. Signal handlers included.
[[nodiscard]] int grow(const Range& range, SlotRecord& slot, std::uintptr_t address) noexcept;

/// Commits what a touch at `address` asks for, in the calling thread, whatever the range's
/// committer is. Otherwise as grow().
[[nodiscard]] int grow_here(const Range& range, SlotRecord& slot, std::uintptr_t address) noexcept;

}  // namespace growstack::handler
