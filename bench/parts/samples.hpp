// What is said about many measurements of the same thing. Medians: a machine that does other things
// too only ever adds.
#pragma once

#include <optional>
#include <vector>

namespace growstack::bench {

/// The value below which `part` (0 to 1) of the samples lie; 0 without samples.
[[nodiscard]] double percentile(std::vector<double> samples, double part);
[[nodiscard]] double median(const std::vector<double>& samples);

/// The median of the rounds' own ratios: a machine that is slower for a while is so for both.
/// Nothing unless both took part in all rounds.
[[nodiscard]] std::optional<double> median_ratio(const std::vector<double>& times,
                                                 const std::vector<double>& base);

/// How far a ratio is from 1, either way: twice as much is as far as half.
[[nodiscard]] double from_one(double ratio);

}  // namespace growstack::bench
