// What is said about many measurements of the same thing. Medians: a machine that does other things too only ever adds.
#pragma once

#include <vector>

namespace growstack::bench {

/// The value below which `part` (0 to 1) of the samples lie; 0 without samples.
[[nodiscard]] double percentile(std::vector<double> samples, double part);
[[nodiscard]] double median(const std::vector<double>& samples);

}  // namespace growstack::bench
