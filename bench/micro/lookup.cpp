// How long does it take to find the slot of an address: among one range or many, of an address on a
// stack or of another one?
//
// The time includes the look-up with its pin, and the release of the pin. It does not include
// registering the ranges. Nothing is mapped, because a look-up only computes and touches no stack.
#include <growstack/handler/handler.hpp>
#include <growstack/handler/ranges.hpp>

#include <benchmark/benchmark.h>

#include <random>
#include <stdexcept>
#include <vector>

namespace growstack::bench {
namespace {

using handler::Range;
using handler::range_alignment;

constexpr std::size_t slot_size = range_alignment / 16;

/// The kernel gives these addresses only to those who ask for them.
constexpr std::uintptr_t first_address = std::uintptr_t{1} << 44;

constexpr handler::Operations no_operations{};

/// Registered ranges, one after the other, with a stack in every slot.
class Ranges {
 public:
  explicit Ranges(std::size_t count) {
    if (handler::install() != 0) {
      throw std::runtime_error("cannot install the handler");
    }
    for (std::size_t index = 0; index < count; ++index) {
      add(first_address + index * range_alignment);
    }
  }
  ~Ranges() {
    for (Range* const range : ranges_) {
      for (std::uint32_t slot = 0; slot < range->slot_count; ++slot) {
        handler::retire(*range, slot);
      }
      handler::remove_range(*range);
    }
  }
  Ranges(const Ranges&) = delete;
  Ranges& operator=(const Ranges&) = delete;

 private:
  void add(std::uintptr_t begin) {
    Range* range = nullptr;
    if (handler::add_range({.begin = begin,
                            .size = range_alignment,
                            .slot_size = slot_size,
                            .operations = &no_operations},
                           range) != 0) {
      throw std::runtime_error("cannot add a range");
    }
    ranges_.push_back(range);
    for (std::uint32_t slot = 0; slot < range->slot_count; ++slot) {
      const std::uintptr_t base = begin + (slot + std::size_t{1}) * slot_size;
      const std::uintptr_t guard = base - slot_size;
      handler::publish(*range, slot,
                       {.base = base,
                        .floor = guard + 65536,
                        .guard = guard,
                        .limit = base - 65536,
                        .name = "lookup"});
    }
  }

  std::vector<Range*> ranges_;
};

std::vector<std::uintptr_t> random_addresses(std::uintptr_t begin, std::size_t size) {
  constexpr std::size_t count = 4096;
  std::mt19937_64 random;  // the same addresses in every run
  std::uniform_int_distribution<std::uintptr_t> in_range(begin, begin + size - 1);
  std::vector<std::uintptr_t> addresses(count);
  for (std::uintptr_t& address : addresses) {
    address = in_range(random);
  }
  return addresses;
}

void look_up(benchmark::State& state, const std::vector<std::uintptr_t>& addresses, bool expected) {
  std::size_t next = 0;
  for (auto _ : state) {
    const handler::PinnedSlot pinned(addresses[next++ % addresses.size()]);
    if (static_cast<bool>(pinned) != expected) {
      state.SkipWithError("a look-up went wrong");
      break;
    }
  }
}

void found(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  const Ranges ranges(count);
  look_up(state, random_addresses(first_address, count * range_alignment), true);
}

void not_found(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  const Ranges ranges(count);
  look_up(state, random_addresses(first_address + count * range_alignment, count * range_alignment),
          false);
}

BENCHMARK(found)->ArgName("ranges")->Arg(1)->Arg(64)->Arg(1024);
BENCHMARK(not_found)->ArgName("ranges")->Arg(1)->Arg(1024);

}  // namespace
}  // namespace growstack::bench
