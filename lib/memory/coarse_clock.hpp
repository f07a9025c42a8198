// A clock for decisions that may come some milliseconds late.
#pragma once

#include <chrono>
#include <ctime>

namespace growstack {

/// Returns a monotonic time that is up to some milliseconds old. In return it costs no system call,
/// and does not ask the hardware.
[[nodiscard]] inline std::chrono::nanoseconds coarse_now() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

}  // namespace growstack
