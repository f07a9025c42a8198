#include "parts/samples.hpp"

#include <algorithm>
#include <cstddef>

namespace growstack::bench {

double percentile(std::vector<double> samples, double part) {
  if (samples.empty()) {
    return 0;
  }
  const auto index = static_cast<std::ptrdiff_t>(part * static_cast<double>(samples.size() - 1) + 0.5);
  std::nth_element(samples.begin(), samples.begin() + index, samples.end());
  return samples[static_cast<std::size_t>(index)];
}

double median(const std::vector<double>& samples) { return percentile(samples, 0.5); }

}  // namespace growstack::bench
