// What a measurement must know about a strategy before it measures.
#pragma once

#include <growstack/strategy.hpp>

namespace growstack::compare {

/// The strategy that all ratios of growth are relative to.
inline constexpr Strategy baseline = Strategy::demand_paging;

/// Returns whether our fault handler commits its stacks, in huge pages where the policy says so.
constexpr bool grows_in_huge_pages(Strategy strategy) {
  return strategy == Strategy::pipe_helper || strategy == Strategy::in_handler ||
         strategy == Strategy::guard_markers;
}

/// Returns whether its stacks get memory only when they are used.
constexpr bool gets_memory_late(Strategy strategy) {
  return strategy != Strategy::locked && strategy != Strategy::heap;
}

/// Returns whether a trim gives memory back and leaves the stack as usable as before. After a trim
/// of grows_down something else may be mapped in the hole.
constexpr bool trims_safely(Strategy strategy) {
  return gets_memory_late(strategy) && strategy != Strategy::grows_down;
}

/// Returns whether a StackPool has its stacks; stack_pool.hpp says why some have none.
constexpr bool has_pools(Strategy strategy) {
  return strategy != Strategy::grows_down && strategy != Strategy::heap;
}

/// Returns whether it has a guard, so that an overflow cannot pass unnoticed.
constexpr bool has_guard(Strategy strategy) { return strategy != Strategy::heap; }

/// Returns whether a thread of ours serves its faults, and no signal is raised.
constexpr bool is_served_by_monitor(Strategy strategy) { return strategy == Strategy::userfault; }

/// Returns whether RLIMIT_STACK bounds its stacks.
constexpr bool needs_stack_limit(Strategy strategy) { return strategy == Strategy::grows_down; }

/// Returns whether RLIMIT_MEMLOCK bounds its stacks.
constexpr bool needs_lock_limit(Strategy strategy) { return strategy == Strategy::locked; }

}  // namespace growstack::compare
