#include "pool/tally.hpp"

#include <algorithm>

namespace growstack {

HighWaterDistribution NameTally::ended(std::size_t warm) const noexcept {
  HighWaterDistribution found;
  for (std::size_t index = 0; index < ended_.size(); ++index) {
    found.stacks[index] = ended_[index].load(std::memory_order_relaxed);
  }
  const std::uint64_t stayed_warm = ended_warm_.load(std::memory_order_relaxed);
  found.stacks[exponent(warm)] += stayed_warm;
  found.deepest = std::max(deepest_.load(std::memory_order_relaxed), stayed_warm > 0 ? warm : 0);
  return found;
}

void NameTally::add(const NameTally& other) noexcept {
  add(ended_warm_, other.ended_warm_.load(std::memory_order_relaxed));
  for (std::size_t index = 0; index < ended_.size(); ++index) {
    add(ended_[index], other.ended_[index].load(std::memory_order_relaxed));
  }
  deepest_.store(std::max(deepest_.load(std::memory_order_relaxed),
                          other.deepest_.load(std::memory_order_relaxed)),
                 std::memory_order_relaxed);
}

}  // namespace growstack
