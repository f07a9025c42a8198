// What the fibers of this group do: they go down to a depth, as programs do.
#pragma once

#include "run/table.hpp"

#include <growstack/stack_pool.hpp>

#include <boost/context/pooled_fixedsize_stack.hpp>

#include <cstddef>
#include <string>

namespace growstack::compare {

/// Of all stacks of this group, the peers' too.
inline constexpr std::size_t first_reserve = 8 * mebibyte;

/// Goes so many bytes deep, by calls that each have a frame of 3.5 KiB and write to it; so no page
/// is left out. The bytes include 512 for the frames above the first of these calls.
void go_down(std::size_t depth);

/// Returns the options that a program gets which chooses nothing but the strategy.
[[nodiscard]] PoolOptions usual_pool(const std::string& strategy);

/// Boost's pool, which has no lock: each thread needs one of its own.
using BoostPool = boost::context::pooled_fixedsize_stack;

}  // namespace growstack::compare
