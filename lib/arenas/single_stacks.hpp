// Stacks that belong to no pool.
#pragma once

#include "arenas/open_slot.hpp"
#include "arenas/totals.hpp"

#include <growstack/options.hpp>

namespace growstack {

/// Opens a stack. The options must be validated. Any thread. Throws std::system_error.
[[nodiscard]] OpenSlot open_single_stack(const StackOptions& options);

/// Gives the memory of a stack back. If it was the last one of its arena, the arena is kept for a
/// while (idle_arenas.hpp). Any thread.
void close_single_stack(OpenSlot slot) noexcept;

/// Adds the arenas of all single stacks of this process. Any thread; not from a signal handler.
void add_single_stacks_to(ArenaTotals& totals);

}  // namespace growstack
