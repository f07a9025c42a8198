// Stacks of random kinds, and what runs there.
#pragma once

#include <growstack/options.hpp>
#include <growstack/stack_pool.hpp>

#include "proofs/soak/worker.hpp"
#include "support/sanitized.hpp"
#include "support/units.hpp"

#include <cstddef>
#include <cstdint>

namespace growstack::soak {

/// What is left at the end of each stack: for signal handlers, for the library, for what runs in
/// the lowest frame.
inline constexpr std::size_t margin = testing::sanitized ? 256 * testing::KiB : 64 * testing::KiB;

StackOptions some_options(Random& random);
/// Never of a strategy that has no pools.
PoolOptions some_pool_options(Random& random);
/// Returns how far down a tenant may go who has `room` bytes: from a page to several MiB.
std::size_t some_depth(Random& random, std::size_t room);

/// Runs a tenant on the running stack, which ends at `floor`.
void use_running_stack(Worker& worker, std::uintptr_t base, std::uintptr_t floor, bool fresh);
/// The same on a stack of the library that has no object here.
void use_running_stack(Worker& worker);

}  // namespace growstack::soak
