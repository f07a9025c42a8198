// One growth fault, timed on a fresh stack that grows by one page at a time.
#pragma once

#include <growstack/strategy.hpp>

#include <cstddef>

namespace growstack::bench {

/// What the stack of time_one_fault reserves.
inline constexpr std::size_t one_fault_reserve = std::size_t{4} * 1024 * 1024;

/// Touches 512 pages of a fresh stack, and returns the median time of a touch in nanoseconds. The
/// time does not include making the stack.
[[nodiscard]] double time_one_fault(Strategy strategy);

/// Calls each function that time_each_page calls once. A function's first call takes much stack,
/// which must not be part of the figures.
void prepare_to_time_pages();

}  // namespace growstack::bench
