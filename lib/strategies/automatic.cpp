#include "strategies/automatic.hpp"

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

}  // namespace growstack
