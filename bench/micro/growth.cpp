// How long does a fresh stack of each strategy take to reach a depth? growstack_compare measures
// the same with strategies in turn; this is for profilers, and for one strategy alone.
//
// The time includes one touch of each page on the way down, by the code that runs on the stack. It
// does not include making and releasing the stack, the switch to it, and warming the memory.
#include "parts/descent.hpp"
#include "parts/memory.hpp"

#include <growstack/growstack.hpp>

#include <benchmark/benchmark.h>

#include <chrono>
#include <exception>

namespace growstack::bench {
namespace {

double seconds_to(Strategy strategy, std::size_t depth) {
  Stack stack({.reserve = depth + std::size_t{256} * 1024, .strategy = strategy, .name = "growth"});
  const std::uintptr_t lowest = address_of(stack.base()) - depth;
  touch_and_free(depth);
  return call(stack, [&] {
    const auto before = std::chrono::steady_clock::now();
    descend(lowest);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count();
  });
}

void growth(benchmark::State& state, Strategy strategy) {
  const auto depth = static_cast<std::size_t>(state.range(0));
  try {
    raise_stack_limit(2 * depth);
    for (auto _ : state) {
      state.SetIterationTime(seconds_to(strategy, depth));
    }
  } catch (const std::exception& error) {
    state.SkipWithError(error.what());
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void depths(benchmark::internal::Benchmark* benchmark) {
  constexpr std::int64_t mebibyte = 1024 * 1024;
  benchmark->ArgName("bytes")
      ->Arg(mebibyte / 16)
      ->Arg(mebibyte)
      ->Arg(16 * mebibyte)
      ->UseManualTime();
}

BENCHMARK_CAPTURE(growth, demand_paging, Strategy::demand_paging)->Apply(depths);
BENCHMARK_CAPTURE(growth, grows_down, Strategy::grows_down)->Apply(depths);
BENCHMARK_CAPTURE(growth, in_handler, Strategy::in_handler)->Apply(depths);
BENCHMARK_CAPTURE(growth, pipe_helper, Strategy::pipe_helper)->Apply(depths);

}  // namespace
}  // namespace growstack::bench
