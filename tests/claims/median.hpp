// The median of measurements, which a few very slow ones do not move.
#pragma once

#include <algorithm>
#include <vector>

namespace growstack::testing {

inline double median(std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  return samples.at(samples.size() / 2);
}

}  // namespace growstack::testing
