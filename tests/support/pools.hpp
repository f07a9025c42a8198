// What the tests of pools share: the strategies that a pool can have, and small questions about its
// stacks and their guards.
#pragma once

#include <growstack/growstack.hpp>
#include <growstack/stack_pool.hpp>

#include "support/address_of.hpp"
#include "support/bare_system_call.hpp"
#include "support/each_strategy.hpp"
#include "support/probe.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

/// Makes a test for a pool of each strategy, or of those for which a condition is true.
#define EVERY_POOL(promise) STRATEGIES_WHERE(traits.pools, promise)
#define POOLS_WHERE(condition, promise) STRATEGIES_WHERE(traits.pools && (condition), promise)

namespace growstack::testing {

/// The bytes of a pool's stack that stay committed between two tenants, unless the test says
/// otherwise.
inline constexpr std::size_t warm_size = GrowthPolicy::pooled().initial_commit;

/// Returns a byte in the part of a stack that stays between two tenants. This part is committed
/// from the start, so a touch raises no fault of ours.
[[nodiscard]] inline volatile unsigned char& warm_byte(const Stack& stack) {
  return *(static_cast<volatile unsigned char*>(stack.base()) - 64);
}

/// Returns options of a pool that gives back no memory by itself, so that whatever a test sees was
/// caused by the test.
[[nodiscard]] inline PoolOptions options_for(Strategy strategy) {
  return {.reserve = MiB, .strategy = strategy, .retention = std::chrono::milliseconds(0)};
}

/// Acquires `count` stacks.
inline std::vector<Stack> acquire(StackPool& pool, std::size_t count) {
  std::vector<Stack> stacks;
  stacks.reserve(count);
  while (stacks.size() < count) {
    stacks.push_back(pool.acquire());
  }
  return stacks;
}

/// Returns how many pages of [begin, end) are in physical memory, the shared page of zeros
/// included. Returns nothing if they are not mapped.
[[nodiscard]] inline std::optional<std::size_t> pages_in_memory(std::uintptr_t begin,
                                                                std::uintptr_t end) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages((end - begin) / page);
  if (mincore(reinterpret_cast<void*>(begin), end - begin, pages.data()) != 0) {
    return std::nullopt;
  }
  std::size_t count = 0;
  for (const unsigned char each : pages) {
    count += each & 1U;
  }
  return count;
}

/// Returns how many stacks a pool has.
[[nodiscard]] inline std::size_t stacks_of(const PoolStatistics& figures) {
  return figures.live + figures.cached + figures.cold;
}

}  // namespace growstack::testing
