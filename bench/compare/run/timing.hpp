// For children: things that are done so often in a round that one of them can be timed.
#pragma once

#include "run/turns.hpp"

#include <functional>

namespace growstack::compare {

/// Does something so often, and returns the nanoseconds of each.
using Timing = std::function<double(unsigned times)>;

template <class Body>
double time_each(unsigned times, const Body& body) {
  const auto before = bench::Clock::now();
  for (unsigned each = 0; each < times; ++each) {
    body();
  }
  return bench::nanoseconds_since(before) / times;
}

/// Times what several threads do that are all busy with theirs. Each thread has a processor of its
/// own: left to itself the scheduler may take longer than a round to part them. A thread does
/// `body(thread)` five times as often as asked, because a processor that slept is slow for its
/// first milliseconds. Throws std::runtime_error if this process has fewer processors.
[[nodiscard]] Timing at_once(unsigned threads, std::function<void(unsigned thread)> prepare,
                             std::function<void(unsigned thread, unsigned times)> work);

/// One thing that is timed.
struct Timed : Contender {
  Timing time{};
  unsigned times = 0;  ///< in a round

  /// Finds out how often it can be done in the two milliseconds of a round. The first time, it is
  /// done once and not timed.
  void choose_times();
};

}  // namespace growstack::compare
