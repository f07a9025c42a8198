// Stacks that belong to no pool.
#pragma once

#include "arenas/open_slot.hpp"
#include "arenas/totals.hpp"

#include <growstack/options.hpp>

#include <chrono>

namespace growstack {

/// Opens a stack. The options must be validated. Any thread. Throws std::system_error.
[[nodiscard]] OpenSlot open_single_stack(const StackOptions& options);

/// Gives the memory of a stack back, and its address space if it was the last one of its arena. Any
/// thread.
void close_single_stack(OpenSlot slot) noexcept;

/// Releases the arenas that are kept although no stack lives in them. Any thread.
void give_idle_arenas_back() noexcept;

/// Releases those that were kept long enough. Returns after what time the next one is due; 0: none
/// is kept. Any thread.
std::chrono::milliseconds give_due_arenas_back() noexcept;

/// Adds the arenas of all single stacks of this process. Any thread; not from a signal handler.
void add_single_stacks_to(ArenaTotals& totals);

}  // namespace growstack
