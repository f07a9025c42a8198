// Strategy::automatic: the best strategy that works here.
#pragma once

#include "errors.hpp"
#include "strategies/implementation.hpp"

#include <growstack/options.hpp>

#include <string>
#include <system_error>
#include <vector>

namespace growstack {

/// Returns the strategies that `automatic` tries, best first (StrategyDescription::automatic_rank).
[[nodiscard]] std::vector<Strategy> automatic_candidates();

/// Calls `open` with the options. For Strategy::automatic calls it with each candidate in turn
/// until it does not throw; what it throws for the last candidate is thrown on. Returns why the
/// candidates before the one taken did not work, and what that one lacks here; empty if the first
/// one was taken and lacks nothing, or if the options name a strategy.
template <class Open>
std::string open_with_best_strategy(StackOptions options, Open open) {
  if (options.strategy != Strategy::automatic) {
    open(options);
    return {};
  }
  std::string reasons;
  const std::vector<Strategy> candidates = automatic_candidates();
  for (const Strategy candidate : candidates) {
    options.strategy = candidate;
    try {
      open(options);
      const Implementation& chosen = *implementation(candidate);
      if (const std::string missing = chosen.missing_here(); !missing.empty()) {
        reasons +=
            (reasons.empty() ? "" : "; ") + std::string(chosen.description().name) + ": " + missing;
      }
      break;
    } catch (const std::system_error& error) {
      if (candidate == candidates.back()) {
        throw;
      }
      reasons += (reasons.empty() ? "" : "; ") + reason_of(error);
    }
  }
  return reasons;
}

}  // namespace growstack
