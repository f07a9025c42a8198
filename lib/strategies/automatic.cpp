#include "strategies/automatic.hpp"

#include "memory/overcommit.hpp"

#include <growstack/stack.hpp>

#include <algorithm>

namespace growstack {

std::vector<Strategy> automatic_candidates() {
  std::vector<Strategy> candidates;
  // Not strategies(), whose list may not have been made yet when a static object makes a stack.
  for (unsigned index = 0; index < static_cast<unsigned>(Strategy::automatic); ++index) {
    const auto strategy = static_cast<Strategy>(index);
    if (describe(strategy)->automatic_rank != 0) {
      candidates.push_back(strategy);
    }
  }
  std::sort(candidates.begin(), candidates.end(), [](Strategy one, Strategy other) {
    return describe(one)->automatic_rank < describe(other)->automatic_rank;
  });
  return candidates;
}

Circumstances circumstances_now(std::size_t budget) {
  return {.kernel_charges_all = kernel_charges_all(), .budget = std::min(budget, process_budget())};
}

std::string objection_to(const StrategyDescription& strategy, const StackOptions& options,
                         const Circumstances& circumstances) {
  constexpr std::size_t few = 4;  // reserves
  const std::string name(strategy.name);
  if (circumstances.kernel_charges_all && strategy.charge == DataCharge::at_once) {
    return name +
           ": vm.overcommit_memory is 2, so that the kernel would charge all of a reserve (" +
           in_bytes(options.reserve) + ") at once";
  }
  if (strategy.charges_reserve_when_deep && circumstances.budget / few < options.reserve) {
    return name + ": the budget (" + in_bytes(circumstances.budget) +
           ") has no room for a few reserves (" + in_bytes(options.reserve) +
           "), and a deep stack is charged all of its own at once";
  }
  return {};
}

}  // namespace growstack
