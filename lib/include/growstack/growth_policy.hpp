// How far a stack grows at a fault: a value, and pure functions.
#pragma once

#include <growstack/export.hpp>

#include <cstddef>
#include <cstdint>

namespace growstack {

/// Says how far a stack grows at a fault. All sizes are in bytes; the library rounds them up to
/// whole pages.
///
/// With the defaults a fresh stack of depth d has at most (64 KiB + 4 d) committed, rounded up to
/// whole huge pages if that is more than `huge_from`, and at most (64 KiB + 2 d) resident. Resident
/// is what was touched, in pages of 4 KiB and, deeper than `huge_from`, of 2 MiB. userfault and
/// userfault_signal fill what they commit: with them, both are at most (64 KiB + 2 d). A stack that
/// had other tenants (StackPool, call() and Thread with options) may have more, namely what it kept
/// of them (PoolOptions::warm_size).
struct GrowthPolicy {
  /// Bytes that are committed when the stack is made. One page of them is resident once something
  /// runs there.
  ///
  /// If the environment has GROWSTACK_INITIAL_COMMIT=page when the library is loaded, every stack
  /// and pool commits one page, whatever this value is. The tests of a program then meet code that
  /// relies on memory which nobody has touched yet, such as a bare system call into a fresh frame.
  /// (A call() still commits room for a signal's frame before it begins, by one step of this
  /// policy.)
  std::size_t initial_commit = std::size_t{64} * 1024;
  /// At a fault the committed part becomes this many times as large, within the two steps below. A
  /// factor of 1 grows by `least_step`. From 1 to 16; userfault and userfault_signal use at most 2
  /// (StrategyDescription::largest_factor). Memory that is committed and not touched is charged
  /// (RLIMIT_DATA, vm.overcommit_memory = 2), but costs no physical memory. Each fault costs time.
  double factor = 4.0;
  /// Bytes that a fault commits at least.
  std::size_t least_step = std::size_t{16} * 1024;
  /// Bytes that a fault commits at most, unless it needs more: a touch deeper than this below the
  /// limit (a large frame) still gets all memory down to it.
  std::size_t largest_step = std::size_t{8} * 1024 * 1024;
  /// Bytes that stay committed below the address that faulted, so that a signal or a system call
  /// that follows finds memory.
  std::size_t headroom = std::size_t{8} * 1024;

  /// The depth from which memory comes in huge pages of 2 MiB, if the kernel has them
  /// (transparent_hugepage/enabled is not "never"). This counts for pipe_helper, in_handler,
  /// guard_markers and demand_paging_huge, and for stacks of 4 MiB and more. 0: never, and
  /// demand_paging_huge is then demand_paging. At most 2 MiB; for guard_markers from 128 KiB to 2
  /// MiB less the guard.
  std::size_t huge_from = std::size_t{2} * 1024 * 1024;

  /// Returns a policy for deep stacks that are few: huge pages from 128 KiB on. A stack has up to 2
  /// MiB more resident than with the defaults.
  [[nodiscard]] static constexpr GrowthPolicy throughput() noexcept;

  /// Returns a policy for stacks that are many: small steps, and never more resident than was
  /// touched.
  [[nodiscard]] static constexpr GrowthPolicy frugal() noexcept;

  /// Returns the policy for stacks of a StackPool: from 8 KiB by doubling, so that growth events
  /// alone tell the depth that a stack reached to a factor of two.
  [[nodiscard]] static constexpr GrowthPolicy pooled() noexcept;

  /// Compares all fields.
  bool operator==(const GrowthPolicy&) const = default;
};

constexpr GrowthPolicy GrowthPolicy::throughput() noexcept {
  return {.huge_from = std::size_t{128} * 1024};
}

constexpr GrowthPolicy GrowthPolicy::frugal() noexcept {
  return {.initial_commit = std::size_t{16} * 1024, .factor = 1.5, .huge_from = 0};
}

constexpr GrowthPolicy GrowthPolicy::pooled() noexcept {
  return {.initial_commit = std::size_t{8} * 1024,
          .factor = 2,
          .least_step = std::size_t{8} * 1024,
          .headroom = std::size_t{4} * 1024,
          .huge_from = 0};
}

/// Returns the new limit for a touch at `address`, which lies in [floor, limit). The new limit is
/// page aligned, at most `address`, and never below `floor`. If it is deeper than `huge_from`, its
/// distance from base - huge_from is a multiple of 2 MiB, unless it is the floor. `page` is the
/// page size, of which base, floor, limit and huge_from are multiples. Pure; any thread, signal
/// handlers included.
[[nodiscard]] GROWSTACK_EXPORT std::uintptr_t grown_limit(const GrowthPolicy& policy,
                                                          std::uintptr_t base, std::uintptr_t floor,
                                                          std::uintptr_t limit,
                                                          std::uintptr_t address,
                                                          std::size_t page) noexcept;

/// Returns the limit down to which Stack::trim_current() keeps the memory of a stack that runs at
/// `stack_pointer`. It keeps as much again as is in use, plus initial_commit, but at least `margin`
/// bytes below the stack pointer; deeper than `huge_from`, whole huge pages. So a stack whose depth
/// varies within a factor of two is never trimmed, and a trimmed stack has no more committed than a
/// fresh stack of that depth may have resident. The result is page aligned and not below `floor`.
/// `page` is the page size. Pure; any thread, signal handlers included.
[[nodiscard]] GROWSTACK_EXPORT std::uintptr_t kept_limit(const GrowthPolicy& policy,
                                                         std::uintptr_t base, std::uintptr_t floor,
                                                         std::uintptr_t stack_pointer,
                                                         std::size_t margin,
                                                         std::size_t page) noexcept;

}  // namespace growstack
