// Does a fault cost more if the process has many mappings? With 60,000 the tree in which the kernel
// looks an address up is a few levels deeper than with 100. This belongs to claim 32, in
// tests/claims/mappings.cpp.
//
// The time of first_touch includes the fault of a read-write page that nobody has touched, filling
// it with zeros, and two clock readings. The time of growth_fault includes the fault of a page
// without permissions, the signal, a bare SIGSEGV handler that opens the page by mprotect, the
// second fault, filling, and two clock readings. The time of map_and_unmap includes mmap and munmap
// of one page, which is not touched. No time includes making the other mappings and taking them
// away (before and after a run), getting fresh memory (every 512 pages), and the way to the next
// page.
//
// `mappings` is how many the process has besides its usual fifty. The figures are medians of runs
// that take turns at random: if the machine is slower for a while, it is slower for all of them.
#include "parts/mappings.hpp"

#include "page_by_page.hpp"
#include "parts/bare_handler.hpp"
#include "parts/descent.hpp"
#include "parts/errors.hpp"

#include <growstack/handler/pages.hpp>

#include <benchmark/benchmark.h>

#include <sys/mman.h>

#include <array>
#include <chrono>
#include <exception>
#include <span>
#include <string>
#include <vector>

namespace growstack::bench {
namespace {

using namespace std::chrono_literals;
using handler::page_size;

/// Read-write memory whose pages can be made fresh again.
class Memory {
 public:
  Memory() {
    void* const memory =
        mmap(nullptr, size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require(memory != MAP_FAILED, "mmap");
    begin_ = static_cast<char*>(memory);
    // A kernel without huge pages returns EINVAL.
    static_cast<void>(madvise(begin_, size(), MADV_NOHUGEPAGE));
  }
  ~Memory() { munmap(begin_, size()); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void time_first_touches(std::span<double> nanoseconds) {
    require(madvise(begin_, size(), MADV_DONTNEED) == 0, "madvise");
    volatile char* page = begin_ + size();
    for (double& each : nanoseconds) {
      page -= page_size();
      each = time_touch(page);
    }
  }

 private:
  static std::size_t size() { return pages_at_once * page_size(); }

  char* begin_ = nullptr;
};

/// Runs a benchmark as iterate does, after some pages that are not timed.
template <class Refill>
void iterate_warm(benchmark::State& state, const Refill& refill) {
  std::array<double, pages_at_once> unused;
  refill(unused);
  iterate(state, refill);
}

/// Runs body() in a process with so many mappings.
template <class Body>
void with_mappings(benchmark::State& state, const Body& body) {
  try {
    const Mappings mappings(static_cast<std::size_t>(state.range(0)));
    body();
  } catch (const std::exception& error) {
    state.SkipWithError(error.what());
  }
}

void first_touch(benchmark::State& state) {
  with_mappings(state, [&] {
    Memory memory;
    iterate_warm(state,
                 [&](std::span<double> nanoseconds) { memory.time_first_touches(nanoseconds); });
  });
}

void growth_fault(benchmark::State& state) {
  with_mappings(state, [&] {
    const BareHandler installed;
    iterate_warm(state,
                 [](std::span<double> nanoseconds) { time_each_bare_fault(nanoseconds, 0ns); });
  });
}

void map_and_unmap(benchmark::State& state) {
  with_mappings(state, [&] {
    for (auto _ : state) {
      // Only readable, unlike its neighbours, so that the kernel cannot merge it with one of them.
      void* const page = mmap(nullptr, page_size(), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      require(page != MAP_FAILED, "mmap");
      munmap(page, page_size());
    }
  });
}

void amounts(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("mappings")->Arg(100)->Arg(60'000)->ReportAggregatesOnly();
}

BENCHMARK(first_touch)->Apply(amounts)->UseManualTime();
BENCHMARK(growth_fault)->Apply(amounts)->UseManualTime();
BENCHMARK(map_and_unmap)->Apply(amounts);

}  // namespace
}  // namespace growstack::bench

/// Lets the benchmarks take turns, unless the command line says otherwise.
int main(int argc, char** argv) {
  std::string repetitions = "--benchmark_repetitions=5";
  std::string interleaving = "--benchmark_enable_random_interleaving=true";
  std::vector<char*> arguments{argv[0], repetitions.data(), interleaving.data()};
  arguments.insert(arguments.end(), argv + 1, argv + argc);
  int count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) {
    return 1;
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
