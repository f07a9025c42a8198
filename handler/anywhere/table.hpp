// The flat table, from which every look-up starts: one word per 64 MiB of user address space.
#pragma once

#include <growstack/handler/slot.hpp>

#include "machine/machine.hpp"

#include <atomic>
#include <cstddef>

namespace growstack::handler {

inline constexpr std::size_t table_entries = std::size_t{1}
                                             << (machine::user_address_bits - range_shift);
using TableEntry = std::atomic<Range*>;

/// Null before the first range. Written once, under the life-cycle lock; read by anyone, debuggers
/// included.
extern std::atomic<TableEntry*> table;

}  // namespace growstack::handler
