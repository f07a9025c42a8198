// What does one fault cost: with a bare handler that only calls mprotect(2), with our handler, and
// with the pipe to the helper?
//
// The time includes the fault, the signal, the handler, the commit of one page, filling it with
// zeros, and two clock readings. It does not include the way to the next page, or making the stack,
// which is a new one every 512 pages.
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

// The bare one comes first, because it takes SIGSEGV for itself and gives it back.
BENCHMARK(bare_handler)->UseManualTime();
BENCHMARK_CAPTURE(strategy, in_handler, Strategy::in_handler)->UseManualTime();
BENCHMARK_CAPTURE(strategy, pipe_helper, Strategy::pipe_helper)->UseManualTime();
BENCHMARK_CAPTURE(strategy, demand_paging, Strategy::demand_paging)->UseManualTime();

}  // namespace
}  // namespace growstack::bench
