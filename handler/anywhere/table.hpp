// The flat table, from which every look-up starts: one word for each 64 MiB of user address space.
//
// It is reserved readable, which costs neither memory nor charge, because every page of it is the
// kernel's page of zeros. The pages that get an entry are made writable first.
#pragma once

#include <growstack/handler/slot.hpp>

#include "machine/machine.hpp"

#include <atomic>
#include <cstddef>

namespace growstack::handler {

inline constexpr std::size_t table_entries = std::size_t{1}
                                             << (ThisMachine::user_address_bits - range_shift);

/// The range that the 64 MiB belong to, or null. Written under the life-cycle lock by single
/// stores; read by anyone.
using TableEntry = std::atomic<Range*>;

/// Null before the first range. Written once, under the life-cycle lock; read by anyone, debuggers
/// included.
inline constinit std::atomic<TableEntry*> table{nullptr};

}  // namespace growstack::handler
