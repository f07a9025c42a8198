// Who takes part in the groups spawn and scale, strategies whose stacks come from a StackPool and
// peers; and what these groups do with pools.
#pragma once

#include "run/session.hpp"

#include <growstack/stack_pool.hpp>

#include <nlohmann/json.hpp>

#include <cstddef>
#include <string>
#include <vector>

namespace growstack::compare {

/// What servers give to their smallest fibers.
inline constexpr std::size_t pooled_reserve = 64 * kibibyte;

/// Returns the strategies for very many stacks that are included.
[[nodiscard]] std::vector<Subject> those_for_many(const Session& session);

/// Returns the strategies that have pools, and the peers boost_pooled_fixedsize, boost_fixedsize,
/// boost_protected_fixedsize and glibc_thread.
[[nodiscard]] std::vector<Subject> pooled_and_peers(const Session& session);

/// Returns options for stacks of pooled_reserve with a guard of one page.
[[nodiscard]] PoolOptions small_stacks(const std::string& strategy);

/// Acquires a stack and gives it back.
inline void pair(StackPool& pool) { const Stack stack = pool.acquire(); }

/// Counts in how many of 1,000 pairs the calling thread makes a system call: {"count"}, or
/// {"refusal"} if that cannot be known here. The pool must be warm.
[[nodiscard]] nlohmann::json count_system_calls(StackPool& pool);

}  // namespace growstack::compare
