#include "parts/samples.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>

namespace growstack::bench {

double percentile(std::vector<double> samples, double part) {
  if (samples.empty()) {
    return 0;
  }
  const auto index =
      static_cast<std::ptrdiff_t>(part * static_cast<double>(samples.size() - 1) + 0.5);
  std::nth_element(samples.begin(), samples.begin() + index, samples.end());
  return samples[static_cast<std::size_t>(index)];
}

double median(const std::vector<double>& samples) { return percentile(samples, 0.5); }

std::optional<double> median_ratio(const std::vector<double>& times,
                                   const std::vector<double>& base) {
  if (times.empty() || times.size() != base.size()) {
    return std::nullopt;
  }
  std::vector<double> ratios(times.size());
  std::transform(times.begin(), times.end(), base.begin(), ratios.begin(), std::divides<>());
  return median(ratios);
}

double from_one(double ratio) { return std::abs(std::log(ratio)); }

}  // namespace growstack::bench
