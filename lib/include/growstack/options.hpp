// The options of a stack.
#pragma once

#include <growstack/growth_policy.hpp>
#include <growstack/strategy.hpp>

#include <cstddef>
#include <string>

namespace growstack {

/// Says what a stack shall be. Sizes are in bytes. The library rounds them up to whole pages, and
/// guard_markers rounds larger reserves up to a multiple of 2 MiB; Stack::reserved() tells. They
/// never include the guard. Address space that is never touched costs nothing: reserve generously.
struct StackOptions {
  /// How far the stack may grow, from one page to what the address space allows (256 GiB is fine).
  std::size_t reserve = std::size_t{256} * 1024 * 1024;
  /// The guard below the floor, at least one page. It is never committed: a touch there is
  /// overflow. A frame larger than the guard can jump over it, unless the code was compiled with
  /// -fstack-clash-protection. Where it lands on memory that may not be touched, up to 1 MiB below
  /// the floor, that is overflow of this stack, too. Memory that another stack has committed there
  /// raises no fault.
  std::size_t guard = std::size_t{64} * 1024;
  /// How the stack grows. Strategies that grow without faults of ours use only `initial_commit` of
  /// it, or nothing; demand_paging_huge uses `huge_from`. The environment variable
  /// GROWSTACK_INITIAL_COMMIT overrides `initial_commit`.
  GrowthPolicy policy{};
  /// How the stack gets its memory. The default is pipe_helper, which works on every supported
  /// kernel, counts only what it uses against RLIMIT_DATA, and sees every growth: a single stack
  /// can afford its two mappings. PoolOptions has another default, because there are many stacks in
  /// a pool.
  Strategy strategy = Strategy::pipe_helper;
  /// For Strategy::locked: lock a page when it is first touched (MLOCK_ONFAULT), and not all pages
  /// at once. Each page then costs one page fault in its life.
  bool lock_on_fault = false;
  /// How many bytes of the stack, counted from its base, a core dump contains at their full length
  /// (holes where nothing was touched) once the stack has run. What lies deeper is in the core only
  /// if it was used. Each stack takes two mappings for that (vm.max_map_count) if its reserve is
  /// larger, or up to four if it is more than 64 times as large. For strategies whose stacks are
  /// one large read-write mapping; guard_markers takes at least the part whose growth it sees
  /// (2 MiB). The cores of others contain only what was committed.
  std::size_t core_depth = std::size_t{256} * 1024 * 1024;
  /// The name that reports use. At most 39 bytes are kept.
  std::string name = "unnamed";
};

}  // namespace growstack
