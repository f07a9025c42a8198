#include "pool/tally.hpp"

#include <algorithm>

namespace growstack {

HighWaterDistribution NameTally::measured() const noexcept {
  HighWaterDistribution found;
  std::transform(measured_.begin(), measured_.end(), found.stacks.begin(),
                 [](const Count& count) { return count.load(std::memory_order_relaxed); });
  found.deepest = deepest_.load(std::memory_order_relaxed);
  return found;
}

void NameTally::add(const NameTally& other) noexcept {
  add(quiet_, other.quiet());
  seen_ += other.seen_;
  for (std::size_t index = 0; index < measured_.size(); ++index) {
    add(measured_[index], other.measured_[index].load(std::memory_order_relaxed));
  }
  deepest_.store(std::max(deepest_.load(std::memory_order_relaxed),
                          other.deepest_.load(std::memory_order_relaxed)),
                 std::memory_order_relaxed);
}

}  // namespace growstack
