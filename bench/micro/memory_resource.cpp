// What do a block of a memory_resource and a container that grows in one cost, compared with the
// resources of the standard library?
//
// The time includes the allocations, a touch of each block, and giving all of it back once a round.
// It does not include making the resource, and the first round.
#include <growstack/memory_resource.hpp>

#include <benchmark/benchmark.h>

#include <cstddef>
#include <memory_resource>
#include <new>
#include <utility>
#include <vector>

namespace growstack::bench {
namespace {

constexpr std::size_t block_bytes = 64;

// Each of these resources gives back all that it handed out: at once, or block by block.

/// A region that keeps its pages when it is released.
class Region {
 public:
  std::pmr::memory_resource& resource() { return region_; }
  void give_back(const std::vector<void*>&) { region_.release(); }

 private:
  memory_resource region_{{.reserve = std::size_t{4} << 30}};
};

/// A region that gives all of its pages back each time.
class RegionThatIsTrimmed {
 public:
  std::pmr::memory_resource& resource() { return region_; }
  void give_back(const std::vector<void*>&) {
    region_.release();
    static_cast<void>(region_.trim());
  }

 private:
  memory_resource region_{{.reserve = std::size_t{4} << 30}};
};

class Monotonic {
 public:
  std::pmr::memory_resource& resource() { return monotonic_; }
  void give_back(const std::vector<void*>&) { monotonic_.release(); }

 private:
  std::pmr::monotonic_buffer_resource monotonic_{std::pmr::new_delete_resource()};
};

class NewDelete {
 public:
  std::pmr::memory_resource& resource() { return *std::pmr::new_delete_resource(); }
  void give_back(const std::vector<void*>& blocks) {
    for (void* const block : blocks) {
      resource().deallocate(block, block_bytes);
    }
  }
};

template <class Resource>
void round_of_small_blocks(Resource& resource, std::vector<void*>& blocks) {
  for (void*& block : blocks) {
    block = resource.resource().allocate(block_bytes);
    *static_cast<volatile char*>(block) = 1;
  }
  resource.give_back(blocks);
}

template <class Resource>
void small_blocks(benchmark::State& state) {
  Resource resource;
  std::vector<void*> blocks(static_cast<std::size_t>(state.range(0)) / block_bytes);
  round_of_small_blocks(resource, blocks);
  for (auto _ : state) {
    round_of_small_blocks(resource, blocks);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(blocks.size()));
}

void grow_vector(std::pmr::memory_resource& resource, std::size_t bytes) {
  std::pmr::vector<int> numbers(&resource);
  for (std::size_t number = 0; number < bytes / sizeof(int); ++number) {
    numbers.push_back(static_cast<int>(number));
  }
  benchmark::DoNotOptimize(numbers.data());
}

template <class Resource>
void growing_vector(benchmark::State& state) {
  Resource resource;
  const auto bytes = static_cast<std::size_t>(state.range(0));
  const auto round = [&] {
    grow_vector(resource.resource(), bytes);
    resource.give_back({});
  };
  round();
  for (auto _ : state) {
    round();
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

/// Also makes and ends the resource in each round.
template <class Resource>
void growing_vector_afresh(benchmark::State& state) {
  for (auto _ : state) {
    Resource resource;
    grow_vector(resource.resource(), static_cast<std::size_t>(state.range(0)));
    resource.give_back({});
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void of_round(benchmark::internal::Benchmark* benchmark) {
  constexpr std::int64_t kibibyte = 1024;
  benchmark->ArgName("bytes")
      ->Arg(4 * kibibyte)
      ->Arg(64 * kibibyte)
      ->Arg(1024 * kibibyte)
      ->Arg(16 * 1024 * kibibyte);
}
BENCHMARK_TEMPLATE(small_blocks, Region)->Apply(of_round);
BENCHMARK_TEMPLATE(small_blocks, RegionThatIsTrimmed)->Apply(of_round);
BENCHMARK_TEMPLATE(small_blocks, Monotonic)->Apply(of_round);
BENCHMARK_TEMPLATE(small_blocks, NewDelete)->Apply(of_round);

constexpr std::int64_t large = std::int64_t{64} << 20;
BENCHMARK_TEMPLATE(growing_vector, Region)
    ->ArgName("bytes")
    ->Arg(large)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_TEMPLATE(growing_vector, RegionThatIsTrimmed)
    ->ArgName("bytes")
    ->Arg(large)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_TEMPLATE(growing_vector, Monotonic)
    ->ArgName("bytes")
    ->Arg(large)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_TEMPLATE(growing_vector, NewDelete)
    ->ArgName("bytes")
    ->Arg(large)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_TEMPLATE(growing_vector_afresh, Region)
    ->ArgName("bytes")
    ->Arg(large)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_TEMPLATE(growing_vector_afresh, Monotonic)
    ->ArgName("bytes")
    ->Arg(large)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace growstack::bench
