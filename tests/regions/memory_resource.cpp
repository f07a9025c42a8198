// memory_resource: blocks in a region that grows where it is. A region can have the same strategies
// as a pool, because it needs what a pool needs: they keep their address space and give memory
// back.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include "support/address_of.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/injected_error.hpp"
#include "support/limits.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <map>
#include <memory_resource>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

using namespace growstack::testing;
using growstack::memory_resource;
using growstack::StackOptions;
using growstack::Strategy;
using growstack::handler::page_size;

/// Makes a test for a region of each strategy, or of those for which a condition is true.
#define EVERY_REGION(promise) STRATEGIES_WHERE(traits.pools, promise)
#define REGIONS_WHERE(condition, promise) STRATEGIES_WHERE(traits.pools && (condition), promise)

namespace growstack::testing {
long sum_without_rtti(long count);  // without_rtti.cpp
}

namespace {

constexpr std::size_t initial_commit = growstack::GrowthPolicy{}.initial_commit;

StackOptions options_for(const Traits& of, std::size_t reserve = 6 * MiB) {
  return {.reserve = reserve, .strategy = of.strategy, .name = "region"};
}

unsigned char* bytes_of(void* block) { return static_cast<unsigned char*>(block); }

void* fill(void* block, std::size_t size, int byte = 42) { return std::memset(block, byte, size); }

bool is_filled(const void* block, std::size_t size, int byte = 42) {
  const auto* const bytes = static_cast<const unsigned char*>(block);
  return std::all_of(bytes, bytes + size, [byte](unsigned char each) { return each == byte; });
}

/// Returns null if the region has no more.
void* try_to_allocate(memory_resource& region, std::size_t size, std::size_t alignment = 16) {
  try {
    return region.allocate(size, alignment);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

/// Allocates blocks of that size until there is no room for more. Returns their number.
std::size_t use_up(memory_resource& region, std::size_t size) {
  std::size_t count = 0;
  while (void* const block = try_to_allocate(region, size)) {
    fill(block, size);
    ++count;
  }
  return count;
}

}  // namespace

// ---- blocks -------------------------------------------------------------------------------------

REGIONS_WHERE(
    !traits.locks_memory,
    "a region of 1 GiB is contiguous, and does not move while 200 MiB of it come into use") {
  constexpr std::size_t size = 100 * KiB;
  constexpr std::size_t count = 200 * MiB / size;
  memory_resource region(options_for(Of::traits, GiB));
  const void* const base = region.stack().base();
  std::vector<std::uint64_t*> blocks;
  for (std::size_t index = 0; index < count; ++index) {
    blocks.push_back(static_cast<std::uint64_t*>(region.allocate(size)));
    std::fill_n(blocks.back(), size / sizeof(std::uint64_t), index);
  }
  std::size_t apart = 0;
  std::size_t wrong = 0;
  for (std::size_t index = 0; index < count; ++index) {
    const void* const expected = static_cast<const char*>(base) - (index + 1) * size;
    apart += blocks[index] == expected ? 0 : 1;
    wrong += blocks[index][0] == index && blocks[index][size / sizeof(std::uint64_t) - 1] == index
                 ? 0
                 : 1;
  }
  CHECK(apart == 0);
  CHECK(wrong == 0);
  CHECK(region.stack().base() == base);
  CHECK(region.used() == count * size);
  CHECK(region.capacity() >= GiB);
  CHECK(region.resident() >= region.used());
  CHECK(region.stack().counters().growth_faults == 0);
}

EVERY_REGION("every block is aligned as asked for, at least to 16 bytes, and lies in the region") {
  memory_resource region(options_for(Of::traits, 32 * MiB));
  std::size_t wrong = 0;
  for (std::size_t alignment = 1; alignment <= 2 * MiB; alignment *= 2) {
    for (const std::size_t size : {1U, 16U, 100U, 4096U}) {
      void* const block = region.allocate(size, alignment);
      wrong += address_of(block) % std::max<std::size_t>(alignment, 16) == 0 ? 0 : 1;
      wrong += region.contains(block) && region.contains(bytes_of(block) + size - 1) ? 0 : 1;
      fill(block, size);
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("blocks of no bytes have addresses of their own") {
  memory_resource region;
  void* const first = region.allocate(0);
  void* const second = region.allocate(0);
  CHECK(first != second);
  region.deallocate(second, 0);
  region.deallocate(first, 0);
  CHECK(region.used() == 0);
}

TEST_CASE(
    "deallocating blocks from the lowest one up makes room again, whatever their alignments") {
  memory_resource region;
  struct Block {
    void* address;
    std::size_t size;
    std::size_t alignment;
    std::size_t used_before;
  };
  std::vector<Block> blocks;
  for (int round = 0; round < 3; ++round) {
    for (const std::size_t alignment : {16U, 4096U, 1U, 64U, 64U, 65536U, 8U, 4096U}) {
      const std::size_t size = 10 + 100 * blocks.size() % 997;
      const std::size_t used = region.used();
      blocks.push_back({region.allocate(size, alignment), size, alignment, used});
      fill(blocks.back().address, size);
    }
    for (; !blocks.empty(); blocks.pop_back()) {
      region.deallocate(blocks.back().address, blocks.back().size, blocks.back().alignment);
      CHECK(region.used() == blocks.back().used_before);
    }
  }
  CHECK(region.used() == 0);
}

TEST_CASE("a block deallocated out of order waits for release") {
  memory_resource region;
  void* const first = region.allocate(64);
  void* const second = region.allocate(64);
  region.deallocate(first, 64);
  CHECK(region.used() == 128);
  region.deallocate(second, 64);
  CHECK(region.used() == 64);
  CHECK(region.allocate(64) == second);
  region.release();
  CHECK(region.used() == 0);
  CHECK(region.allocate(64) == first);
}

TEST_CASE("a std::pmr pool over a region reuses blocks in any order") {
  memory_resource region;
  std::pmr::unsynchronized_pool_resource pool(&region);
  std::mt19937 random(1);
  std::array<void*, 100> blocks{};
  for (void*& block : blocks) {
    block = pool.allocate(100);
  }
  const std::size_t used = region.used();
  for (int round = 0; round < 100; ++round) {
    std::shuffle(blocks.begin(), blocks.end(), random);
    for (void* const block : blocks) {
      pool.deallocate(block, 100);
    }
    for (void*& block : blocks) {
      block = fill(pool.allocate(100), 100);
    }
  }
  CHECK(region.used() == used);
}

EVERY_REGION("containers of std::pmr can live in a region") {
  memory_resource region(options_for(Of::traits, 32 * MiB));
  {
    std::pmr::vector<int> numbers(&region);
    std::pmr::map<int, std::pmr::string> names(&region);
    std::pmr::unordered_map<std::pmr::string, int> by_name(&region);
    for (int number = 0; number < 10'000; ++number) {
      numbers.push_back(number);
      const std::pmr::string name(
          "a name that is too long to lie in the string itself " + std::to_string(number), &region);
      names.emplace(number, name);
      by_name.emplace(name, number);
    }
    std::size_t wrong = 0;
    for (const int number : numbers) {
      wrong += by_name.at(names.at(number)) == number && region.contains(names.at(number).data())
                   ? 0
                   : 1;
    }
    CHECK(wrong == 0);
    CHECK(region.contains(numbers.data()));
  }
  region.release();
  CHECK(region.used() == 0);
}

TEST_CASE("a memory_resource is equal only to itself") {
  memory_resource region;
  const memory_resource other;
  CHECK(region == region);
  CHECK(region != other);
  CHECK(region != *std::pmr::new_delete_resource());
  CHECK_FALSE(std::is_move_constructible_v<memory_resource>);
}

TEST_CASE("a consumer without run-time type information can use a memory_resource") {
  CHECK(sum_without_rtti(10'000) == 49'995'000);
}

EVERY_REGION(
    "random sequences of allocate, deallocate, trim and release agree with a map of blocks") {
  struct Block {
    std::size_t size;
    std::size_t alignment;
    int byte;
  };
  memory_resource region(options_for(Of::traits, 4 * MiB));
  std::map<unsigned char*, Block> blocks;
  std::mt19937 random(20);
  const auto below = [&](std::size_t bound) {
    return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random);
  };
  std::size_t wrong = 0;
  std::size_t refused = 0;
  const auto free_block = [&](typename std::map<unsigned char*, Block>::iterator block) {
    wrong += is_filled(block->first, block->second.size, block->second.byte) ? 0 : 1;
    region.deallocate(block->first, block->second.size, block->second.alignment);
    blocks.erase(block);
  };
  for (int step = 0; step < 20'000; ++step) {
    const std::size_t what = below(1000);
    if (what < 600) {
      const Block block{below(std::size_t{1} << below(18)), std::size_t{1} << below(14),
                        static_cast<int>(below(256))};
      auto* const address = bytes_of(try_to_allocate(region, block.size, block.alignment));
      if (address == nullptr) {
        ++refused;
        wrong += region.capacity() - region.used() < block.size + 16 + block.alignment ? 0 : 1;
        continue;
      }
      const auto above = blocks.lower_bound(address);
      wrong += above == blocks.end() || address + block.size <= above->first ? 0 : 1;
      wrong += above == blocks.begin() ? 0 : 1;  // it is the lowest of all
      wrong += address_of(address) % block.alignment == 0 ? 0 : 1;
      blocks.emplace(static_cast<unsigned char*>(fill(address, block.size, block.byte)), block);
    } else if (what < 900 && !blocks.empty()) {
      free_block(blocks.begin());
    } else if (what < 980 && !blocks.empty()) {
      free_block(std::next(blocks.begin(), static_cast<std::ptrdiff_t>(below(blocks.size()))));
    } else if (what < 998) {
      wrong += region.trim() && Of::traits.trims ? 1 : 0;
    } else {
      for (const auto& [address, block] : blocks) {
        wrong += is_filled(address, block.size, block.byte) ? 0 : 1;
      }
      blocks.clear();
      region.release();
      wrong += region.used() == 0 ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
  CHECK(refused > 0);
  CHECK(region.stack().counters().growth_faults == 0);
}

// ---- its end ------------------------------------------------------------------------------------

EVERY_REGION(
    "a full region throws bad_alloc, its blocks stay, and what is freed can be had again") {
  constexpr std::size_t size = 100 * KiB;
  memory_resource region(options_for(Of::traits));
  CHECK(use_up(region, size) == region.capacity() / size);
  CHECK(region.capacity() - region.used() < size);
  CHECK(use_up(region, 16) == (region.capacity() % size) / 16);
  CHECK(region.used() == region.capacity());
  CHECK(try_to_allocate(region, 0) == nullptr);
  CHECK(is_filled(region.stack().floor(), region.capacity()));
  region.deallocate(region.stack().floor(), 16);
  CHECK(try_to_allocate(region, 16) == region.stack().floor());
  region.release();
  CHECK(use_up(region, MiB) == region.capacity() / MiB);
}

EVERY_REGION("sizes and alignments beyond all bounds throw bad_alloc and change nothing") {
  memory_resource region(options_for(Of::traits));
  region.deallocate(region.allocate(100), 100);
  void* const block = region.allocate(100);
  const std::size_t used = region.used();
  const std::size_t committed = region.committed();
  for (const std::size_t size : {region.capacity(), region.capacity() + 1, SIZE_MAX / 2,
                                 SIZE_MAX - 15, SIZE_MAX - 14, SIZE_MAX}) {
    CAPTURE(size);
    CHECK(try_to_allocate(region, size) == nullptr);
    CHECK(try_to_allocate(region, size, 4096) == nullptr);
  }
  for (std::size_t alignment = 2 * GiB; alignment != 0; alignment *= 2) {
    CAPTURE(alignment);
    void* const aligned = try_to_allocate(region, 16, alignment);
    CHECK((aligned == nullptr || address_of(aligned) % alignment == 0));
    if (aligned != nullptr) {
      region.deallocate(aligned, 16, alignment);
    }
  }
  CHECK(region.used() == used);
  CHECK(region.committed() == committed);
  region.deallocate(block, 100);
  CHECK(region.used() == 0);
}

namespace {

int beyond_the_budget(const Traits& of) {
  growstack::set_process_budget(3 * MiB);
  memory_resource region(options_for(of, 64 * MiB));
  const std::size_t fitted = use_up(region, 64 * KiB);
  require(fitted >= 1 && fitted * 64 * KiB <= 3 * MiB,
          "some blocks fit: " + std::to_string(fitted));
  require(try_to_allocate(region, 4 * MiB) == nullptr, "and no larger ones");
  growstack::set_process_budget(100 * MiB);
  void* const block = try_to_allocate(region, 4 * MiB);
  require(block != nullptr, "it goes on when the budget does");
  fill(block, 4 * MiB);
  region.release();
  require(use_up(region, MiB) == region.capacity() / MiB, "to the end of the region");
  return 7;
}
const ScenarioOfEach<beyond_the_budget> beyond_the_budget_scenarios("beyond the budget");

int no_data_to_lend(const Traits& of) {
  memory_resource region(options_for(of, 256 * MiB));
  void* const before = fill(region.allocate(MiB), MiB);
  require(set_soft_limit(RLIMIT_DATA, status_bytes("VmData") + 32 * MiB), "a limit can be set");
  require(try_to_allocate(region, 128 * MiB) == nullptr, "more than RLIMIT_DATA allows is refused");
  const std::size_t fitted = use_up(region, 64 * KiB);
  require(fitted > 256 && fitted < 1024, "small blocks fit: " + std::to_string(fitted));
  require(is_filled(before, MiB), "what was there stays");
  raise_soft_limit(RLIMIT_DATA);
  require(try_to_allocate(region, 128 * MiB) != nullptr, "it goes on when the limit is lifted");
  return 7;
}
const ScenarioOfEach<no_data_to_lend> no_data_to_lend_scenarios("no data to lend");

int underrun_at_the_guard(const Traits& of) {
  no_core();
  memory_resource region(options_for(of));
  auto* const lowest = static_cast<volatile unsigned char*>(region.allocate(region.capacity()));
  lowest[0] = 1;
  std::fprintf(stderr, "to the last byte\n");
  lowest[-1] = 1;
  return 0;
}
const ScenarioOfEach<underrun_at_the_guard> underrun_scenarios("underrun at the guard");

}  // namespace

REGIONS_WHERE(traits.limit_moves,
              "beyond the budget of the process a region throws bad_alloc, and goes on when the "
              "budget is larger") {
  const Ended ended = run_scenario_of("beyond the budget", Of::traits);
  CHECK(ended.err == "");
  CHECK(ended.exit_code == 7);
}

REGIONS_WHERE(traits.grows_by_protection,
              "if RLIMIT_DATA forbids growth, a region throws bad_alloc, and goes on when the "
              "limit is lifted") {
  if (sanitized) {
    return skip("a sanitizer's own memory counts against RLIMIT_DATA");
  }
  const Ended ended = run_scenario_of("no data to lend", Of::traits);
  CHECK(ended.err == "");
  CHECK(ended.exit_code == 7);
}

EVERY_REGION(
    "a write below the last byte of a full region dies at the guard, like any wild pointer") {
  if (under_address_sanitizer) {
    return skip("AddressSanitizer may say so before the guard does");
  }
  const Ended ended = run_scenario_of("underrun at the guard", Of::traits);
  CHECK(ended.signal == signal_of_overflow(Of::strategy));
  CHECK(ended.err == "to the last byte\n");
}

TEST_CASE("strategies that cannot keep the promises of a region are refused with the reason") {
  const std::string of_grows_down =
      error_of([] { const memory_resource region({.strategy = Strategy::grows_down}); });
  CHECK(contains(of_grows_down, "memory_resource: grows_down holds no address space"));
  CHECK(contains(of_grows_down, std::generic_category().message(EINVAL)));
  const std::string of_heap =
      error_of([] { const memory_resource region({.strategy = Strategy::heap}); });
  CHECK(contains(of_heap, "memory_resource: heap has all of it from malloc"));
  CHECK(contains(of_heap, std::generic_category().message(EINVAL)));
  CHECK(contains(error_of([] { const memory_resource region({.reserve = 0}); }),
                 "StackOptions::reserve"));
}

// ---- memory -------------------------------------------------------------------------------------

EVERY_REGION("a system call finds the memory of a fresh block") {
  memory_resource region(options_for(Of::traits));
  const int descriptor = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  void* const block = region.allocate(4 * MiB);
  CHECK(read(descriptor, block, 4 * MiB) == 4 * MiB);
  close(descriptor);
  CHECK(is_filled(block, 4 * MiB, 0));
}

EVERY_REGION(
    "any thread may be the first to touch a block, at its lowest byte and without an alternate "
    "stack") {
  memory_resource region(options_for(Of::traits));
  auto* const block = bytes_of(region.allocate(5 * MiB));
  std::thread([&] {
    block[0] = 1;
    block[5 * MiB - 1] = 2;
    block[2 * MiB] = 3;
  }).join();
  CHECK(block[0] + block[5 * MiB - 1] + block[2 * MiB] == 6);
  CHECK(region.stack().counters().growth_faults == 0);
}

REGIONS_WHERE(traits.starts_empty,
              "a new region costs nothing except address space and its initial commit") {
  memory_resource region(options_for(Of::traits));
  CHECK(region.used() == 0);
  CHECK(region.resident() == 0);
  CHECK(region.committed() == (Of::traits.limit_moves ? initial_commit : region.capacity()));
  CHECK(region.stack().name() == "region");
  CHECK(memory_resource().stack().name() == "memory resource");
}

REGIONS_WHERE(traits.trims,
              "trim gives back what lies below the lowest block, and does not touch the blocks") {
  memory_resource region(options_for(Of::traits, 64 * MiB));
  void* const kept = fill(region.allocate(MiB), MiB);
  void* const freed = fill(region.allocate(30 * MiB), 30 * MiB);
  CHECK(region.resident() >= 31 * MiB);
  region.deallocate(freed, 30 * MiB);
  for (int time = 0; time < 3; ++time) {
    CHECK(region.trim() == std::error_code());
    CHECK(region.resident() >= MiB);
    CHECK(region.resident() <= MiB + 2 * page_size());
    CHECK(is_filled(kept, MiB));
  }
  if (Of::traits.grows_by_protection) {
    CHECK(region.committed() <= MiB + growstack::GrowthPolicy{}.headroom + page_size());
  }
  void* const again = fill(region.allocate(30 * MiB), 30 * MiB);
  CHECK(again == freed);
  CHECK(is_filled(kept, MiB));
  CHECK(region.stack().counters().growth_faults == 0);
}

REGIONS_WHERE(traits.trims, "trim after release gives everything back") {
  memory_resource region(options_for(Of::traits));
  fill(region.allocate(5 * MiB), 5 * MiB);
  region.release();
  CHECK(region.trim() == std::error_code());
  CHECK(region.resident() == 0);
  fill(region.allocate(5 * MiB), 5 * MiB);
  CHECK(region.resident() >= 5 * MiB);
}

REGIONS_WHERE(traits.trims, "release gives back what only an earlier round needed") {
  memory_resource region(options_for(Of::traits, 64 * MiB));
  fill(region.allocate(30 * MiB), 30 * MiB);
  region.release();
  constexpr std::size_t small = 10 * KiB;
  fill(region.allocate(small), small);
  CHECK(region.resident() >= 30 * MiB);
  region.release();
  const std::size_t kept = initial_commit + 2 * small + page_size();
  CHECK(region.resident() <= kept);
  if (Of::traits.grows_by_protection) {
    CHECK(region.committed() <= kept);
  }
  fill(region.allocate(30 * MiB), 30 * MiB);
  CHECK(region.stack().counters().growth_faults == 0);
}

STRATEGIES_WHERE(traits.locks_memory, "a locked region keeps its memory, and trim says so") {
  memory_resource region(options_for(Of::traits));
  const std::size_t resident = region.resident();
  fill(region.allocate(5 * MiB), 5 * MiB);
  region.release();
  region.release();
  CHECK(region.trim() == std::errc::not_supported);
  CHECK(region.resident() == resident);
  CHECK(use_up(region, MiB) == region.capacity() / MiB);
}

namespace {

/// Makes rounds of allocations, first with system calls. Then the kernel kills the process at any
/// system call except the one that ends it.
int rounds_without_system_calls(const Traits& of) {
  no_core();
  memory_resource shallow(options_for(of));
  memory_resource deep(options_for(of));
  const auto round = [](memory_resource& region, std::size_t bytes) {
    for (std::size_t done = 0; done < bytes; done += KiB) {
      static_cast<unsigned char*>(region.allocate(KiB))[0] = 1;
    }
    region.release();
  };
  round(deep, 4 * MiB);
  std::thread([&] {
    InjectedError::for_good().forbid_all();
    for (int time = 0; time < 1000; ++time) {
      round(shallow, initial_commit);
      round(deep, (time % 2 == 0 ? 3 : 4) * MiB);
    }
    _exit(7);
  }).join();
  return 0;
}
const ScenarioOfEach<rounds_without_system_calls> rounds_scenarios("rounds without system calls");

int child_goes_on(const Traits& of) {
  memory_resource region(options_for(of));
  void* const before = fill(region.allocate(MiB), MiB);
  const int end = end_of_child([&] {
    void* const block = fill(region.allocate(3 * MiB), 3 * MiB, 1);
    const bool kept = is_filled(before, MiB) && is_filled(block, 3 * MiB, 1);
    region.release();
    region.release();
    return kept && !region.trim() == of.trims && use_up(region, MiB) == region.capacity() / MiB ? 7
                                                                                                : 1;
  });
  require(is_filled(before, MiB), "what the parent has stays");
  require(end == 7, "the child goes on: " + std::to_string(end));
  fill(region.allocate(3 * MiB), 3 * MiB, 1);
  return 7;
}
const ScenarioOfEach<child_goes_on> child_goes_on_scenarios("child goes on");

}  // namespace

EVERY_REGION("rounds of like allocations, each with its release, make no system call") {
  if (sanitized) {
    return skip("a sanitizer makes system calls of its own");
  }
  const Ended ended = run_scenario_of("rounds without system calls", Of::traits);
  CHECK(ended.err == "");
  CHECK(ended.signal == 0);
  CHECK(ended.exit_code == 7);
}

EVERY_REGION("a forked child goes on with its copy of a region, and so does the parent") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer does not know threads after a fork");
  }
  const Ended ended = run_scenario_of("child goes on", Of::traits);
  CHECK(ended.err == "");
  CHECK(ended.exit_code == 7);
}

// ---- AddressSanitizer ---------------------------------------------------------------------------

namespace {

unsigned char read_after_release() {
  memory_resource region;
  auto* const block = static_cast<volatile unsigned char*>(region.allocate(100));
  block[0] = 1;
  region.release();
  return block[0];
}

unsigned char read_after_deallocate() {
  memory_resource region;
  auto* const block = static_cast<volatile unsigned char*>(region.allocate(100));
  static_cast<void>(region.allocate(100));
  region.deallocate(const_cast<unsigned char*>(block), 100);
  return block[99];
}

unsigned char read_beyond_the_end() {
  memory_resource region;
  static_cast<void>(region.allocate(100));
  return static_cast<volatile unsigned char*>(region.allocate(99))[99];
}

unsigned char read_below_the_lowest() {
  memory_resource region;
  return static_cast<volatile unsigned char*>(region.allocate(2 * MiB))[-1];
}

GROWSTACK_SCENARIO("read after release") { return read_after_release(); }
GROWSTACK_SCENARIO("read after deallocate") { return read_after_deallocate(); }
GROWSTACK_SCENARIO("read beyond the end") { return read_beyond_the_end(); }
GROWSTACK_SCENARIO("read below the lowest") { return read_below_the_lowest(); }

}  // namespace

TEST_CASE("AddressSanitizer finds a touch of memory that is in no block") {
  if (!under_address_sanitizer) {
    return skip("it is not built with AddressSanitizer");
  }
  for (const char* const scenario : {"read after release", "read after deallocate",
                                     "read beyond the end", "read below the lowest"}) {
    CAPTURE(std::string(scenario));
    CHECK(contains(run_scenario(scenario).err, "AddressSanitizer: use-after-poison"));
  }
}

EVERY_REGION("after the end of a region its address space is as good as new") {
  for (int round = 0; round < 3; ++round) {
    {
      memory_resource region(options_for(Of::traits));
      fill(region.allocate(5 * MiB), 5 * MiB);
    }
    growstack::Stack stack(options_for(Of::traits));
    CHECK(growstack::ensure_committed(stack.floor(), stack.reserved()) == std::error_code());
    fill(stack.floor(), stack.reserved());
  }
}
