// What does one fault cost? A bare handler with only mprotect(2) in it, our handler doing the same,
// and the pipe to the helper.
//
// In the time: the fault, the signal, the handler, the commit of one page and its filling with
// zeros, two clock readings. Not in the time: making the stack, which happens anew every 512 pages,
// and the way to the next page.
#include "page_by_page.hpp"
#include "parts/bare_handler.hpp"
#include "parts/descent.hpp"

#include <growstack/growstack.hpp>

#include <benchmark/benchmark.h>

#include <chrono>

namespace growstack::bench {
namespace {

using namespace std::chrono_literals;

void bare_handler(benchmark::State& state) {
  const BareHandler installed;
  iterate(state, [](std::span<double> nanoseconds) { time_each_bare_fault(nanoseconds, 0ns); });
}

void strategy(benchmark::State& state, Strategy strategy) {
  iterate(state, [&](std::span<double> nanoseconds) {
    Stack stack({.reserve = std::size_t{16} * 1024 * 1024,
                 .policy = page_by_page,
                 .strategy = strategy,
                 .name = "fault"});
    call(stack, [&] { time_each_page(nanoseconds, 0ns); });
  });
}

// The bare one first: it takes SIGSEGV for itself, and gives it back.
BENCHMARK(bare_handler)->UseManualTime();
BENCHMARK_CAPTURE(strategy, in_handler, Strategy::in_handler)->UseManualTime();
BENCHMARK_CAPTURE(strategy, pipe_helper, Strategy::pipe_helper)->UseManualTime();
BENCHMARK_CAPTURE(strategy, demand_paging, Strategy::demand_paging)->UseManualTime();

}  // namespace
}  // namespace growstack::bench
