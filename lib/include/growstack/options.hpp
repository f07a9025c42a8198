// What one asks for when one asks for a stack.
#pragma once

#include <growstack/growth_policy.hpp>
#include <growstack/strategy.hpp>

#include <string>

namespace growstack {

/// Sizes in bytes, rounded up to whole pages, and always without the guard. Address space that is
/// never touched costs nothing: reserve generously.
struct StackOptions {
  /// How far the stack may grow, from one page to what the address space allows (256 GiB is fine).
  std::size_t reserve = std::size_t{256} * 1024 * 1024;
  /// Never committed, below the floor: a touch there is overflow. At least one page. A frame larger
  /// than this can jump over it, unless it was compiled with -fstack-clash-protection.
  std::size_t guard = std::size_t{64} * 1024;
  /// Strategies that grow without faults of ours take only `initial_commit` from it, or nothing;
  /// demand_paging_huge takes `huge_from`. The environment variable GROWSTACK_INITIAL_COMMIT
  /// overrides its initial_commit.
  GrowthPolicy policy{};
  /// See growstack/strategy.hpp; automatic takes the best one that works.
  Strategy strategy = Strategy::pipe_helper;
  /// For Strategy::locked: lock pages as they are touched (MLOCK_ONFAULT) rather than all of them
  /// at once. Each page then costs one page fault in its life.
  bool lock_on_fault = false;
  /// Appears in reports. At most 39 bytes are kept.
  std::string name = "unnamed";
};

}  // namespace growstack
