// One growth: how far, by whom, and what is written down about it.
#pragma once

#include <growstack/handler/slot.hpp>

#include <cstdint>

namespace growstack::handler {

/// Commits what a touch at `address` asks for, in the thread that the range's committer names. 0 or an errno; EDOM for a
/// plan that does not reach the address. Signal handlers included; the slot is pinned.
int grow(const Range& range, SlotRecord& slot, std::uintptr_t address) noexcept;

/// The same, always in the calling thread.
int grow_here(const Range& range, SlotRecord& slot, std::uintptr_t address) noexcept;

/// Growths that the helper was asked for, and by whom they were committed.
struct CommitTally {
  std::uint64_t by_helper = 0;
  std::uint64_t helper_missing = 0;
};
[[nodiscard]] CommitTally commit_tally() noexcept;

}  // namespace growstack::handler
