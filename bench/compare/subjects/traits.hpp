// What a measurement must know about a strategy before it measures: conclusions from what the
// library says about its strategies.
#pragma once

#include <growstack/strategy.hpp>

namespace growstack::compare {

/// The strategy that all ratios of growth are relative to.
inline constexpr Strategy baseline = Strategy::demand_paging;

/// Answers a question about a strategy.
using Trait = bool (*)(const StrategyDescription& strategy);

/// Returns whether our fault handler commits its stacks, in huge pages where the policy says so.
constexpr bool grows_in_huge_pages(const StrategyDescription& strategy) {
  return strategy.event == GrowthEvent::segmentation_fault && strategy.huge_pages;
}

/// Returns whether its stacks get memory only when they are used.
constexpr bool gets_memory_late(const StrategyDescription& strategy) {
  return strategy.own_address_space && !strategy.locks_memory;
}

/// Returns whether a trim gives memory back and leaves the stack as usable as before. If the
/// reservation is not kept, something else may be mapped in the hole.
constexpr bool trims_safely(const StrategyDescription& strategy) {
  return strategy.trims && strategy.keeps_reservation;
}

/// Returns whether only RLIMIT_STACK bounds its stacks.
constexpr bool needs_stack_limit(const StrategyDescription& strategy) {
  return strategy.charge == DataCharge::nothing;
}

constexpr bool needs_lock_limit(const StrategyDescription& strategy) {
  return strategy.locks_memory;
}

/// Returns whether very many of its stacks can live at once: a signal tells of growth, and no stack
/// is a mapping of its own, so that all of them are charged at once.
constexpr bool is_for_many(const StrategyDescription& strategy) {
  return strategy.charge == DataCharge::at_once &&
         (strategy.event == GrowthEvent::segmentation_fault ||
          strategy.event == GrowthEvent::bus_error);
}

constexpr bool has_pools(const StrategyDescription& strategy) { return strategy.pools(); }

}  // namespace growstack::compare
