// For benchmarks in which one iteration is one page.
#pragma once

#include <benchmark/benchmark.h>

#include <array>
#include <cstddef>

namespace growstack::bench {

inline constexpr std::size_t pages_at_once = 512;

/// Runs a benchmark of which one iteration is one page. `refill` times the next pages_at_once
/// pages.
template <class Refill>
void iterate(benchmark::State& state, const Refill& refill) {
  std::array<double, pages_at_once> nanoseconds;
  std::size_t next = pages_at_once;
  for (auto _ : state) {
    if (next == pages_at_once) {
      refill(nanoseconds);
      next = 0;
    }
    state.SetIterationTime(nanoseconds[next++] * 1e-9);
  }
}

}  // namespace growstack::bench
