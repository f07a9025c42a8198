// Strategy::automatic: the best strategy that works here.
#pragma once

#include "errors.hpp"
#include "strategies/implementation.hpp"

#include <growstack/options.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>
#include <vector>

namespace growstack {

/// Returns the strategies that `automatic` tries, best first (StrategyDescription::automatic_rank).
[[nodiscard]] std::vector<Strategy> automatic_candidates();

/// What `automatic` heeds besides whether a strategy works.
struct Circumstances {
  /// vm.overcommit_memory is 2: the kernel charges everything that may be written to, also what is
  /// mapped with MAP_NORESERVE.
  bool kernel_charges_all = false;
  std::size_t budget = SIZE_MAX;  ///< the smallest of those that count, in bytes
};

/// Returns the circumstances now, in which `budget` counts besides that of the process. Not from a
/// signal handler.
[[nodiscard]] Circumstances circumstances_now(std::size_t budget);

/// Returns why stacks of a strategy would use up what is left, as a reason for a message; empty if
/// they would not.
[[nodiscard]] std::string objection_to(const StrategyDescription& strategy,
                                       const StackOptions& options,
                                       const Circumstances& circumstances);

/// Calls `open` with the options. For Strategy::automatic calls it with each candidate in turn
/// until it does not throw; what it throws for the last candidate is thrown on. Passes over a
/// candidate, except the last one, to which there is an objection; `budget` is the one that counts
/// besides that of the process. Returns why the candidates before the one taken were not, and
/// what that one lacks here; empty if the first one was taken and lacks nothing, or if the options
/// name a strategy.
template <class Open>
std::string open_with_best_strategy(StackOptions options, std::size_t budget, Open open) {
  if (options.strategy != Strategy::automatic) {
    open(options);
    return {};
  }
  std::string reasons;
  const auto add = [&](const std::string& reason) {
    reasons += (reasons.empty() ? "" : "; ") + reason;
  };
  const Circumstances circumstances = circumstances_now(budget);
  const std::vector<Strategy> candidates = automatic_candidates();
  for (const Strategy candidate : candidates) {
    options.strategy = candidate;
    const std::string objection = objection_to(*describe(candidate), options, circumstances);
    if (!objection.empty() && candidate != candidates.back()) {
      add(objection);
      continue;
    }
    try {
      open(options);
      const Implementation& chosen = *implementation(candidate);
      if (const std::string missing = chosen.missing_here(); !missing.empty()) {
        add(std::string(chosen.description().name) + ": " + missing);
      }
      break;
    } catch (const std::system_error& error) {
      if (candidate == candidates.back()) {
        throw;
      }
      add(reason_of(error));
    }
  }
  return reasons;
}

}  // namespace growstack
