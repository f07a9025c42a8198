// One clock for all measurements.
#pragma once

#include <chrono>

namespace growstack::bench {

using Clock = std::chrono::steady_clock;

/// Returns the nanoseconds from `before` until now.
[[nodiscard]] inline double nanoseconds_since(Clock::time_point before) {
  return std::chrono::duration<double, std::nano>(Clock::now() - before).count();
}

}  // namespace growstack::bench
