// What does it cost to run a function on a growable stack, compared with a plain call and with a
// thread?
//
// The time includes everything: making and releasing a fresh stack, creating and joining a thread.
// It does not include the first call of each kind, which installs the handler and starts the
// helper.
#include <growstack/growstack.hpp>

#include <benchmark/benchmark.h>

#include <thread>

namespace growstack::bench {
namespace {

[[gnu::noinline]] int answer(int question) {
  benchmark::DoNotOptimize(question);
  return question + 1;
}

void plain_function(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(answer(1));
  }
}

void ready_stack(benchmark::State& state) {
  Stack stack({.name = "call"});
  call(stack, answer, 0);
  for (auto _ : state) {
    benchmark::DoNotOptimize(call(stack, answer, 1));
  }
}

void fresh_stack(benchmark::State& state, Strategy strategy, bool arena_is_kept) {
  const StackOptions options{.strategy = strategy, .name = "call"};
  std::optional<Stack> neighbour;
  if (arena_is_kept) {
    neighbour.emplace(options);
  }
  call(options, answer, 0);
  for (auto _ : state) {
    benchmark::DoNotOptimize(call(options, answer, 1));
  }
}

void fresh_thread(benchmark::State& state) {
  for (auto _ : state) {
    int result = 0;
    std::thread([&] { result = answer(1); }).join();
    benchmark::DoNotOptimize(result);
  }
}

BENCHMARK(plain_function);
BENCHMARK(ready_stack);
BENCHMARK_CAPTURE(fresh_stack, pipe_helper, Strategy::pipe_helper, false);
BENCHMARK_CAPTURE(fresh_stack, in_handler, Strategy::in_handler, false);
BENCHMARK_CAPTURE(fresh_stack, in_handler_beside_another, Strategy::in_handler, true);
BENCHMARK_CAPTURE(fresh_stack, demand_paging, Strategy::demand_paging, false);
BENCHMARK(fresh_thread)->UseRealTime();

}  // namespace
}  // namespace growstack::bench
