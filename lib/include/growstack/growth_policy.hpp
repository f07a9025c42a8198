// How far to grow at a fault: a value and a pure function.
#pragma once

#include <cstddef>
#include <cstdint>

#pragma GCC visibility push(default)  // exported from a shared library

namespace growstack {

/// All sizes in bytes; the library rounds them up to whole pages.
///
/// With the defaults a stack of depth d has at most 64 KiB + 4 d committed, and at most 64 KiB + 2
/// d resident: what was touched, in pages of 4 KiB and, deeper than huge_from, of 2 MiB. (userfault
/// and userfault_signal fill what they commit; with them both are at most 64 KiB + 2 d.)
struct GrowthPolicy {
  /// Committed when the stack is made; resident is one page once something runs there. With
  /// GROWSTACK_INITIAL_COMMIT=page in the environment when the library is loaded it is one page for
  /// every stack and pool, whatever is asked for here: tests of a program then meet what relies on
  /// memory that nobody has touched yet, such as bare system calls into fresh frames. (A call()
  /// still has room for a signal's frame committed before it begins, by one step of this policy.)
  std::size_t initial_commit = std::size_t{64} * 1024;
  /// At a fault the committed part becomes this many times as large, within the two steps below. 1
  /// grows by `least_step`. From 1 to 16; userfault and userfault_signal take more than 2 for 2.
  /// What is committed and not touched is charged (RLIMIT_DATA, vm.overcommit_memory = 2), but
  /// costs no memory; what costs time is each fault.
  double factor = 4.0;
  /// Committed at a fault at least, and at most: a jump below that (a large frame) still gets what
  /// it needs.
  std::size_t least_step = std::size_t{16} * 1024;
  /// See least_step.
  std::size_t largest_step = std::size_t{8} * 1024 * 1024;
  /// Kept committed below the address that faulted, so that a signal or a system call that follows
  /// finds memory.
  std::size_t headroom = std::size_t{8} * 1024;

  /// From this depth on memory comes in huge pages of 2 MiB, where the kernel has them
  /// (transparent_hugepage/enabled is not "never"), for pipe_helper, in_handler, guard_markers and
  /// demand_paging_huge, and stacks of 4 MiB and more. 0: never, and demand_paging_huge is
  /// demand_paging then. At most 2 MiB; for guard_markers from 128 KiB to 2 MiB less the guard.
  std::size_t huge_from = std::size_t{2} * 1024 * 1024;

  /// For deep stacks that are few: huge pages from 128 KiB on. A stack of depth d has up to 2 MiB
  /// more resident.
  [[nodiscard]] static constexpr GrowthPolicy throughput() noexcept;

  /// For stacks that are many: never more resident than was touched, and committed in small steps.
  [[nodiscard]] static constexpr GrowthPolicy frugal() noexcept;

  /// For stacks of a StackPool: from 8 KiB by doubling, so that the depth they reached is known to
  /// a factor of two by events alone.
  [[nodiscard]] static constexpr GrowthPolicy pooled() noexcept;

  /// Field by field.
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

/// The new limit for a touch at `address`, which lies in [floor, limit): page aligned, at most
/// `address`, never below `floor`; below base - huge_from, unless it is the floor, a multiple of 2
/// MiB away from that. Pure; any thread, signal handlers included. `page` is the page size.
[[nodiscard]] std::uintptr_t grown_limit(const GrowthPolicy& policy, std::uintptr_t base,
                                         std::uintptr_t floor, std::uintptr_t limit,
                                         std::uintptr_t address, std::size_t page) noexcept;

/// The limit down to which Stack::trim_current() keeps a stack that runs at `stack_pointer`: as
/// much again as it has in use, and initial_commit, but at least `margin` below the stack pointer;
/// where huge pages begin, whole ones. So a stack that swings within a factor of two is never
/// trimmed, and a trimmed one has no more committed than a fresh one of that depth may have
/// resident. Page aligned, not below `floor`. Pure; any thread, signal handlers included.
[[nodiscard]] std::uintptr_t kept_limit(const GrowthPolicy& policy, std::uintptr_t base,
                                        std::uintptr_t floor, std::uintptr_t stack_pointer,
                                        std::size_t margin, std::size_t page) noexcept;

}  // namespace growstack

#pragma GCC visibility pop
