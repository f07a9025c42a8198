// Who takes part in the groups spawn and scale: strategies whose stacks a StackPool has, and peers.
#pragma once

#include "run/session.hpp"

#include <growstack/stack_pool.hpp>

#include <nlohmann/json.hpp>

#include <cstddef>
#include <string>
#include <vector>

namespace growstack::compare {

/// What the smallest fibers of servers are given.
inline constexpr std::size_t pooled_reserve = std::size_t{64} * 1024;

/// The strategy that is for very many stacks.
inline constexpr Strategy many = Strategy::guard_markers;

/// Not grows_down and heap: why, stack_pool.hpp tells.
[[nodiscard]] bool has_pools(Strategy strategy);

/// Those, and boost_fixedsize, boost_protected_fixedsize, boost_pooled_fixedsize and glibc_thread.
[[nodiscard]] std::vector<Subject> pooled_and_peers(const Session& session);

/// Stacks of that size and a guard of one page, all else as by default.
[[nodiscard]] PoolOptions small_stacks(const std::string& strategy);

/// A stack from the pool, and back.
inline void pair(StackPool& pool) { const Stack stack = pool.acquire(); }

/// Of so many pairs ...
inline constexpr unsigned pairs_counted = 1000;

/// ... those in which the calling thread made a system call: {"count"}, or {"refusal"} where that
/// cannot be known. The pool must be warm.
[[nodiscard]] nlohmann::json count_system_calls(StackPool& pool);

/// On the running stack: as much as a small fiber needs, written to.
[[gnu::noinline]] void use_a_little();

}  // namespace growstack::compare
