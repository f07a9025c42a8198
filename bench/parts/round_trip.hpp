// The least that asking another thread can cost.
#pragma once

#include <span>

namespace growstack::bench {

/// Times one byte that goes through a pipe to a thread that waits in read(2), and another byte that
/// comes back through a second pipe, once for each of the nanoseconds. Both threads are on the same
/// processor. Throws std::system_error.
void time_each_round_trip(std::span<double> nanoseconds);

}  // namespace growstack::bench
