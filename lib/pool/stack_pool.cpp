// StackPool: the public face of a PoolCore. Its two functions that acquire a stack are in
// warm_pair.cpp.
#include <growstack/stack_pool.hpp>

#include "pool/core.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace growstack {

std::uint64_t HighWaterDistribution::count() const noexcept {
  return std::accumulate(stacks.begin(), stacks.end(), std::uint64_t{0});
}

std::size_t HighWaterDistribution::within(double part) const noexcept {
  const std::uint64_t all = count();
  if (all == 0) {
    return 0;
  }
  // Not converted to an integer, because 2^64 is none. In this order, "not a number" counts as 0.
  const double wanted = std::max(1.0, std::ceil(std::min(part, 1.0) * static_cast<double>(all)));
  std::uint64_t so_far = 0;
  std::size_t exponent = 0;
  while (exponent + 1 < stacks.size() && static_cast<double>(so_far += stacks[exponent]) < wanted) {
    ++exponent;
  }
  return std::size_t{1} << exponent;
}

HighWaterDistribution& HighWaterDistribution::operator+=(
    const HighWaterDistribution& other) noexcept {
  std::transform(stacks.begin(), stacks.end(), other.stacks.begin(), stacks.begin(), std::plus<>());
  deepest = std::max(deepest, other.deepest);
  return *this;
}

void StackPool::Close::operator()(PoolCore* core) const noexcept { core->abandon(); }

StackPool::StackPool(const PoolOptions& options) : core_(new PoolCore(options)) {}
StackPool::~StackPool() = default;
StackPool& StackPool::operator=(StackPool&&) noexcept = default;

void StackPool::trim() noexcept { static_cast<void>(core_->trim()); }

PoolStatistics StackPool::statistics() const { return core_->statistics(); }
std::vector<NamedHighWater> StackPool::high_water_by_name() const {
  return core_->high_water_by_name();
}
std::size_t StackPool::resident() const { return core_->resident(); }
Strategy StackPool::strategy() const noexcept { return core_->strategy(); }
std::string_view StackPool::fallback_reason() const noexcept { return core_->fallback_reason(); }
std::size_t StackPool::reserve() const noexcept { return core_->reserve(); }

}  // namespace growstack
