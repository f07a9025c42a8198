#include "pool/usual_depth.hpp"

namespace growstack {

UsualDepth::Counts apportion(std::uint64_t count, const UsualDepth::Counts& weights) noexcept {
  const std::uint64_t all = std::accumulate(weights.begin(), weights.end(), std::uint64_t{0});
  if (all == 0) {
    return {};
  }
  const std::uint64_t each = count / all;
  const std::uint64_t rest = count % all;  // divided apart, so that no product overflows
  UsualDepth::Counts parts{};
  UsualDepth::Counts remainders{};
  std::uint64_t left = count;
  for (std::size_t index = 0; index < weights.size(); ++index) {
    parts[index] = weights[index] * each + weights[index] * rest / all;
    remainders[index] = weights[index] * rest % all;
    left -= parts[index];
  }
  for (; left > 0; --left) {
    const auto largest = std::max_element(remainders.begin(), remainders.end());
    ++parts[static_cast<std::size_t>(largest - remainders.begin())];
    *largest = 0;
  }
  return parts;
}

}  // namespace growstack
