#include "strategies/automatic.hpp"

#include <algorithm>

namespace growstack {

std::vector<Strategy> automatic_candidates() {
  std::vector<Strategy> candidates;
  for (const StrategyDescription& each : strategies()) {
    if (each.automatic_rank != 0) {
      candidates.push_back(each.strategy);
    }
  }
  std::sort(candidates.begin(), candidates.end(), [](Strategy one, Strategy other) {
    return describe(one)->automatic_rank < describe(other)->automatic_rank;
  });
  return candidates;
}

}  // namespace growstack
