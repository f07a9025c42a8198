// What does a stack from a pool cost? growstack_compare measures more of it, in turn with others;
// this is for profilers.
//
// The time includes acquire() and the end of the stack, and what the benchmark's name says happens
// in between. It does not include making the first stacks, and starting and ending the other
// thread.
#include <growstack/growstack.hpp>
#include <growstack/stack_pool.hpp>

#include <benchmark/benchmark.h>

#include <atomic>
#include <cstddef>
#include <exception>
#include <thread>
#include <utility>
#include <vector>

namespace growstack::bench {
namespace {

PoolOptions small_stacks(Strategy strategy) {
  return {.reserve = std::size_t{64} * 1024,
          .guard = std::size_t{4} * 1024,
          .strategy = strategy,
          .name = "pool"};
}

void acquire_release(benchmark::State& state, Strategy strategy) {
  try {
    StackPool pool(small_stacks(strategy));
    for (auto _ : state) {
      benchmark::DoNotOptimize(pool.acquire());
    }
  } catch (const std::exception& error) {
    state.SkipWithError(error.what());
  }
}

/// Acquires stacks of one name, which is not the name of the pool.
void named(benchmark::State& state) {
  StackPool pool(small_stacks(Strategy::automatic));
  for (auto _ : state) {
    benchmark::DoNotOptimize(pool.acquire("connection"));
  }
}

/// Acquires stacks of two names in turn, so that each stack must be marked again.
void two_names(benchmark::State& state) {
  StackPool pool(small_stacks(Strategy::automatic));
  for (auto _ : state) {
    benchmark::DoNotOptimize(pool.acquire("connection"));
    benchmark::DoNotOptimize(pool.acquire("timer"));
  }
}

/// A thread that gives back the stacks it is handed.
class OtherThread {
 public:
  OtherThread() : thread_([this] { serve(); }) {}
  ~OtherThread() {
    hand_over({});
    thread_.join();
  }
  OtherThread(const OtherThread&) = delete;
  OtherThread& operator=(const OtherThread&) = delete;

  void hand_over(std::vector<Stack> stacks) {
    is_full_.wait(true);
    stacks_ = std::move(stacks);
    is_full_ = true;
    is_full_.notify_one();
  }

 private:
  void serve() {
    for (bool goes_on = true; goes_on;) {
      is_full_.wait(false);
      goes_on = !stacks_.empty();
      stacks_.clear();
      is_full_ = false;
      is_full_.notify_one();
    }
  }

  std::vector<Stack> stacks_;  // is_full_ says which of the two threads may use it
  std::atomic<bool> is_full_{false};
  std::thread thread_;
};

/// One thread acquires stacks and another gives them back, with the pool's lock in between. It
/// hands over many at a time, so that these share the cost of waking the other thread.
void release_on_another_thread(benchmark::State& state) {
  const auto batch = static_cast<std::size_t>(state.range(0));
  StackPool pool(small_stacks(Strategy::automatic));
  OtherThread other;
  for (auto _ : state) {
    std::vector<Stack> stacks;
    stacks.reserve(batch);
    for (std::size_t each = 0; each < batch; ++each) {
      stacks.push_back(pool.acquire());
    }
    other.hand_over(std::move(stacks));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

BENCHMARK_CAPTURE(acquire_release, automatic, Strategy::automatic);
BENCHMARK_CAPTURE(acquire_release, in_handler, Strategy::in_handler);
BENCHMARK_CAPTURE(acquire_release, pipe_helper, Strategy::pipe_helper);
BENCHMARK_CAPTURE(acquire_release, demand_paging, Strategy::demand_paging);
BENCHMARK(named);
BENCHMARK(two_names);
BENCHMARK(release_on_another_thread)->ArgName("stacks")->Arg(16)->Arg(256)->UseRealTime();

}  // namespace
}  // namespace growstack::bench
