// Who takes part in the groups spawn and scale: strategies whose stacks a StackPool has, and peers.
#pragma once

#include "session.hpp"

#include <growstack/stack_pool.hpp>

#include <cstddef>
#include <string>
#include <vector>

namespace growstack::compare {

/// What the smallest fibers of servers are given.
inline constexpr std::size_t pooled_reserve = std::size_t{64} * 1024;

/// Not grows_down and heap: why, stack_pool.hpp tells.
[[nodiscard]] bool has_pools(Strategy strategy);

/// Those, and boost_fixedsize, boost_protected_fixedsize, boost_pooled_fixedsize and glibc_thread.
[[nodiscard]] std::vector<Subject> pooled_and_peers(const Session& session);

/// Stacks of that size and a guard of one page, all else as by default.
[[nodiscard]] PoolOptions small_stacks(const std::string& strategy);

/// On the running stack: as much as a small fiber needs, written to.
[[gnu::noinline]] void use_a_little();

}  // namespace growstack::compare
