// Summaries of many measurements of the same thing. They are medians, because other work of the
// machine can only add to a time.
#pragma once

#include <optional>
#include <utility>
#include <vector>

namespace growstack::bench {

/// Returns the value below which `part` (0 to 1) of the samples lie; 0 if there are no samples.
[[nodiscard]] double percentile(std::vector<double> samples, double part);
/// Returns the value in the middle of the samples; 0 if there are no samples.
[[nodiscard]] double median(const std::vector<double>& samples);

/// Returns the median of the ratios of each round: if the machine is slower for a while, it is
/// slower for both. Returns nothing unless both took part in all rounds.
[[nodiscard]] std::optional<double> median_ratio(const std::vector<double>& times,
                                                 const std::vector<double>& base);

/// Returns the bounds between which the median of the ratios lies with a confidence of 95 %,
/// however they are distributed. Returns nothing unless both took part in all rounds.
[[nodiscard]] std::optional<std::pair<double, double>> median_ratio_interval(
    const std::vector<double>& times, const std::vector<double>& base);

/// Returns how far a ratio is from 1 in either direction: twice as much is as far as half.
[[nodiscard]] double from_one(double ratio);

}  // namespace growstack::bench
