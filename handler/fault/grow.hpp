// One growth: how far, by whom, and what is written down about it.
#pragma once

#include <growstack/handler/slot.hpp>

#include <cstdint>

namespace growstack::handler {

/// Commits what a touch at `address` asks for, in the thread that the range's committer names. 0 or
/// an errno; EDOM for a plan that does not reach the address. Signal handlers included; the slot is
/// pinned.
int grow(const Range& range, SlotRecord& slot, std::uintptr_t address) noexcept;

/// The same, always in the calling thread.
int grow_here(const Range& range, SlotRecord& slot, std::uintptr_t address) noexcept;

/// Writes down a growth that is about to happen; `remote` if the stack pointer of who asks is
/// elsewhere, or not known.
void count_growth(SlotRecord& slot, bool remote) noexcept;

struct GrowthTally {
  std::uint64_t growth = 0;
  std::uint64_t remote_growth = 0;
  std::uint64_t by_helper = 0;
  std::uint64_t helper_missing = 0;
};
[[nodiscard]] GrowthTally growth_tally() noexcept;

}  // namespace growstack::handler
