// Does a fault get dearer when the process has many mappings? With 60,000 the tree in which the
// kernel looks an address up is a few levels deeper than with 100. The claim beside it: 32, in
// tests/claims/mappings.cpp.
//
// In the time:
//   first_touch     the fault of a read-write page that nobody has touched, its filling with zeros,
//   two clock readings growth_fault    the same of a page without permissions, which a bare SIGSEGV
//   handler opens by mprotect: the fault, the
//                   signal, the handler, the second fault
//   map_and_unmap   mmap and munmap of one page, which is not touched
// Not in the time: making the other mappings and taking them away, before and after a run; fresh
// memory, every 512 pages; the way to the next page.
//
// `mappings`: how many the process has beside its usual fifty. The figures are medians of runs that
// take turns at random, so that a machine which is slower for a while is so for all of them.
#include "parts/mappings.hpp"
#include "page_by_page.hpp"
#include "parts/bare_handler.hpp"
#include "parts/descent.hpp"

#include <growstack/handler/pages.hpp>

#include <benchmark/benchmark.h>

#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <exception>
#include <span>
#include <string>
#include <system_error>
#include <vector>

namespace growstack::bench {
namespace {

using namespace std::chrono_literals;
using handler::page_size;

void require(bool fulfilled, const char* call) {
  if (!fulfilled) {
    throw std::system_error(errno, std::generic_category(), call);
  }
}

/// Read-write memory, whose pages can be had fresh again.
class Memory {
 public:
  Memory() {
    void* const memory =
        mmap(nullptr, size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require(memory != MAP_FAILED, "mmap");
    begin_ = static_cast<char*>(memory);
    static_cast<void>(
        madvise(begin_, size(), MADV_NOHUGEPAGE));  // EINVAL: a kernel without huge pages
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

/// With the first pages not in the time.
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
      // Readable only: unlike its neighbours, so that the kernel cannot just make one of them a
      // page larger.
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

/// Runs in turns, unless the command line says otherwise.
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
