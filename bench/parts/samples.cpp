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

namespace {

/// Returns nothing unless both took part in all rounds.
std::vector<double> ratios(const std::vector<double>& times, const std::vector<double>& base) {
  if (times.size() != base.size()) {
    return {};
  }
  std::vector<double> all(times.size());
  std::transform(times.begin(), times.end(), base.begin(), all.begin(), std::divides<>());
  return all;
}

}  // namespace

std::optional<double> median_ratio(const std::vector<double>& times,
                                   const std::vector<double>& base) {
  const std::vector<double> all = ratios(times, base);
  return all.empty() ? std::nullopt : std::optional(median(all));
}

std::optional<std::pair<double, double>> median_ratio_interval(const std::vector<double>& times,
                                                               const std::vector<double>& base) {
  const std::vector<double> all = ratios(times, base);
  if (all.empty()) {
    return std::nullopt;
  }
  // The number of samples below the median is binomial: so many of its standard deviations.
  const double part = 0.98 / std::sqrt(static_cast<double>(all.size()));
  return std::pair(percentile(all, std::max(0.0, 0.5 - part)),
                   percentile(all, std::min(1.0, 0.5 + part)));
}

double from_one(double ratio) { return std::abs(std::log(ratio)); }

}  // namespace growstack::bench
