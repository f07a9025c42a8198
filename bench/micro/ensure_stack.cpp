// What ensure_stack() costs: where there is room, and for a deep recursion. Frames take 48 bytes.
//
// GROWSTACK_LEVELS=100000000 makes the recursions so deep; otherwise they have 1,000,000 levels.
#include <growstack/growstack.hpp>

#include <benchmark/benchmark.h>

#include <pthread.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <fstream>

namespace growstack::bench {
namespace {

constexpr std::size_t mebibyte = std::size_t{1} << 20;
constexpr std::size_t bytes = std::size_t{32} * 1024;

[[gnu::noinline]] int callee(int value) {
  asm volatile("" : "+r"(value));
  return value;
}

void plain_call(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(callee(1));
  }
}
BENCHMARK(plain_call);

void ensured_call(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(ensure_stack(bytes, callee, 1));
  }
}
BENCHMARK(ensured_call);

void ask_what_is_left(benchmark::State& state) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(remaining_stack());
  }
}
BENCHMARK(ask_what_is_left);

/// Comes to a stack of ours and back, and is told there how much is left: two look-ups.
void look_up(benchmark::State& state) {
  Stack stack;
  for (auto _ : state) {
    benchmark::DoNotOptimize(call(stack, [] { return remaining_stack(); }));
    benchmark::DoNotOptimize(remaining_stack());
  }
}
BENCHMARK(look_up);

/// The same, and asks nothing.
void no_look_up(benchmark::State& state) {
  Stack stack;
  for (auto _ : state) {
    benchmark::DoNotOptimize(call(stack, [] { return callee(1); }));
  }
}
BENCHMARK(no_look_up);

// ---- recursions ---------------------------------------------------------------------------------

std::size_t levels() {
  const char* const asked = std::getenv("GROWSTACK_LEVELS");
  return asked == nullptr ? 1'000'000 : std::strtoull(asked, nullptr, 10);
}

std::size_t resident_bytes() {
  std::size_t all = 0;
  std::size_t resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

std::size_t resident_at_bottom = 0;

const StackOptions segment{
    .reserve = mebibyte, .strategy = Strategy::in_handler, .name = "segment"};

template <bool in_segments>
[[gnu::noinline]] std::size_t descend(std::size_t left) {
  volatile std::size_t here[2] = {left, left};
  if (left == 0) {
    resident_at_bottom = resident_bytes();
    return 0;
  }
  std::size_t below = 0;
  if constexpr (in_segments) {
    below = ensure_stack(segment, bytes, descend<true>, left - 1);
  } else {
    below = ensure_stack(bytes, descend<false>, left - 1);
  }
  return below + static_cast<std::size_t>(here[0] == here[1]);
}

template <bool in_segments>
void recursion(benchmark::State& state) {
  const std::size_t depth = levels();
  growstack::trim();  // what the benchmarks before this one left would be resident before, too
  const std::size_t before = resident_bytes();
  for (auto _ : state) {
    if (descend<in_segments>(depth) != depth) {
      state.SkipWithError("lost levels");
    }
  }
  state.counters["resident_MiB"] =
      (static_cast<double>(resident_at_bottom) - static_cast<double>(before)) / mebibyte;
}
BENCHMARK(recursion<false>)->Name("recursion")->Unit(benchmark::kMillisecond);
BENCHMARK(recursion<true>)->Name("recursion_in_segments_of_1MiB")->Unit(benchmark::kMillisecond);

/// How deep the same frames get in 16 MiB.
[[gnu::noinline]] std::size_t levels_here(std::size_t left) {
  volatile std::size_t here[4] = {left, left};  // a frame of 48 bytes
  if (remaining_stack() < bytes) {
    return 0;
  }
  return 1 + levels_here(left + 1) + static_cast<std::size_t>(here[0] != here[1]);
}

void fixed_stack_of_16MiB(benchmark::State& state) {
  std::size_t reached = 0;
  for (auto _ : state) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 16 * mebibyte);
    pthread_t thread{};
    const auto run = [](void* result) -> void* {
      *static_cast<std::size_t*>(result) = levels_here(0);
      return nullptr;
    };
    if (pthread_create(&thread, &attributes, run, &reached) != 0) {
      state.SkipWithError("no thread");
      break;
    }
    pthread_join(thread, nullptr);
    pthread_attr_destroy(&attributes);
  }
  state.counters["levels"] = static_cast<double>(reached);
}
BENCHMARK(fixed_stack_of_16MiB)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace growstack::bench
