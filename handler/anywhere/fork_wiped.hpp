// Memory that a forked child finds zeroed (MADV_WIPEONFORK, Linux 4.14).
//
// Everything that names a thread of this process lives here. Those threads do not exist in a forked
// child, which finds that out without running any code of ours. The memory is never unmapped, so a
// pointer into it is always safe to read.
#pragma once

#include "anywhere/own_descriptor.hpp"

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace growstack::handler {

struct LeftStack;
struct SlotRecord;

/// Where a faulting thread waits for the helper. After that thread gave up and another one took the
/// reply, the helper may still find the reply in an old request; the sequence number in `word`
/// tells it so.
struct alignas(64) Reply {
  /// Written by the one faulting thread that waits here, and by who ends a request that was left.
  std::atomic<std::uint32_t> taken{0};
  /// A reply_word(), and a futex (its lower half): see fault/request.hpp.
  std::atomic<std::uint64_t> word{0};
  /// The slot that is to grow. Written by the faulting thread before `word`.
  std::atomic<const SlotRecord*> slot{nullptr};
};

/// All zeros is a process without any service thread.
struct ForkWiped {
  /// The process whose threads are named here; 0 in a child that was made by a bare clone(2).
  /// Written when the memory is made, and in a forked child before fork(2) returns.
  std::atomic<pid_t> process{0};

  /// Thread id of the helper that reads the pipe, or 0. Written by the helper; read by faulting
  /// threads. A stale value costs them a wait of bounded length, a stale 0 a commit of their own.
  std::atomic<std::uint32_t> helper_runs{0};
  /// Thread id of the last helper, never 0 again once there was one. Written by the helper before
  /// `helper_runs`.
  std::atomic<std::uint32_t> helper_id{0};
  /// The processor that the helper was last told to run on, + 1. 0: any that the process was
  /// started on. Written by faulting threads.
  std::atomic<std::uint32_t> helper_processor{0};
  /// How often in a row the helper gave no answer from where it had been brought, and for how many
  /// more faults it is therefore left alone. Written by faulting threads; a lost update costs a
  /// wait.
  std::atomic<std::uint32_t> helper_stalls{0};
  std::atomic<std::uint32_t> helper_left_alone{0};

  // Not 0 while the thread was started in this process and has been neither joined nor abandoned.
  // Written under the life-cycle lock.
  std::atomic<std::uint32_t> helper_joinable{0};
  std::atomic<std::uint32_t> symbolizer_joinable{0};  ///< also read by who reports an overflow
  std::atomic<std::uint32_t> keeper_joinable{0};
  std::atomic<std::uint32_t> monitor_joinable{0};

  /// The stacks of threads that were left to themselves, and may still run: see
  /// threads/service_stack.hpp. Under the life-cycle lock.
  LeftStack* left_stacks = nullptr;

  /// A SymbolState, and a futex: see fault/trace.hpp.
  std::atomic<std::uint32_t> symbol_state{0};
  /// Thread id of the symbolizer. One that finds another id here ends.
  std::atomic<std::uint32_t> symbolizer_id{0};
  /// When the symbolizer is to look after what is kept, in nanoseconds of CLOCK_MONOTONIC; 0:
  /// never. See threads/idle_looks.hpp.
  std::atomic<std::int64_t> next_look{0};
  /// How often it began to look, plus how often it ended: odd while it looks. Written under
  /// idle_lock(). See fault/idle_request.hpp.
  std::atomic<std::uint32_t> looks{0};
  /// How often faults asked the symbolizer to give back all that is kept, and how often it did; the
  /// latter is a futex. See fault/idle_request.hpp.
  std::atomic<std::uint32_t> idle_wanted{0};
  std::atomic<std::uint32_t> idle_served{0};
  /// Thread id of the thread that reports, or 0: one trace at a time. A futex.
  std::atomic<std::uint32_t> reporter{0};

  /// The userfaultfd of each UserfaultKind. A child's would be its parent's, and fill memory of the
  /// parent.
  OwnDescriptor userfaults[2]{};

  /// How many requests were left to a helper that has claimed them. Raised by faulting threads,
  /// lowered by who ends such a request; read by who retires a slot.
  std::atomic<std::uint32_t> requests_left{0};

  static constexpr std::size_t reply_count = 256;
  Reply replies[reply_count];
};

/// Returns zeroed memory that a fork zeroes again, at least `bytes` of it; null with errno if there
/// is none. It is never given back.
[[nodiscard]] void* map_fork_wiped(std::size_t bytes) noexcept;

/// Returns the one instance, or null before make_fork_wiped() succeeded. Signal handlers included.
[[nodiscard]] ForkWiped* fork_wiped() noexcept;

/// Makes the one instance unless it is there. Under the life-cycle lock. Returns 0 or an errno.
[[nodiscard]] int make_fork_wiped() noexcept;

/// Notes that the words name threads of this process. In a forked child.
void note_forked_process() noexcept;

/// Returns true in a process that shares the memory of the process whose threads are named, and is
/// not that process: a child of vfork(2), or of clone(2) with CLONE_VM. What such a child leaves
/// behind when it is killed stays in its parent's memory. Costs one getpid(2). Signal handlers
/// included.
[[nodiscard]] bool in_vfork_child() noexcept;

}  // namespace growstack::handler
