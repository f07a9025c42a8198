// What does the library cost as others link it: a fiber of Boost.Context, and a thread, on each
// kind of stack?
//
// The time includes making the fiber or thread, running a function on it that does nothing, and
// ending it. It does not include making the allocator with its first stacks.
#include <growstack/growstack.hpp>
#include <growstack/stack_allocator.hpp>

#include <benchmark/benchmark.h>
#include <boost/context/fiber.hpp>
#include <boost/context/fixedsize_stack.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>

#include <cstddef>
#include <memory>
#include <thread>
#include <utility>

namespace growstack::bench {
namespace {

namespace context = boost::context;

constexpr std::size_t size = std::size_t{64} * 1024;

template <class Allocator>
void fiber(benchmark::State& state) {
  const Allocator allocator(size);
  for (auto _ : state) {
    context::fiber made(std::allocator_arg, Allocator(allocator),
                        [](context::fiber&& back) { return std::move(back); });
    made = std::move(made).resume();
    benchmark::DoNotOptimize(made);
  }
}

BENCHMARK_TEMPLATE(fiber, pooled_stack_allocator);
BENCHMARK_TEMPLATE(fiber, context::pooled_fixedsize_stack);
BENCHMARK_TEMPLATE(fiber, context::fixedsize_stack);
BENCHMARK_TEMPLATE(fiber, stack_allocator);
BENCHMARK_TEMPLATE(fiber, context::protected_fixedsize_stack);

void growstack_thread(benchmark::State& state) {
  for (auto _ : state) {
    Thread([] {}).join();
  }
}

void growstack_thread_from_pool(benchmark::State& state) {
  StackPool pool;
  for (auto _ : state) {
    Thread(pool.acquire(), [] {}).join();
  }
}

/// Makes an ordinary thread. glibc keeps the stacks of threads that ended, and uses them again.
void std_thread(benchmark::State& state) {
  for (auto _ : state) {
    std::thread([] {}).join();
  }
}

/// Makes an ordinary thread that attaches itself.
void std_thread_attached(benchmark::State& state) {
  for (auto _ : state) {
    std::thread([] { attach_thread(); }).join();
  }
}

BENCHMARK(growstack_thread)->UseRealTime();
BENCHMARK(growstack_thread_from_pool)->UseRealTime();
BENCHMARK(std_thread)->UseRealTime();
BENCHMARK(std_thread_attached)->UseRealTime();

}  // namespace
}  // namespace growstack::bench
