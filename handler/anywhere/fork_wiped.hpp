// Memory that a forked child finds zeroed (MADV_WIPEONFORK, Linux 4.14).
//
// Everything that names a thread of this process lives here: after a fork those threads do not
// exist, and no code of ours needs to run in the child to find that out. Never unmapped, so a
// pointer into it is always safe to read.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace growstack::handler {

/// Where a faulting thread waits for the helper. The helper may still find the name of a reply in
/// the pipe after its thread gave up and claimed it anew; the sequence number in `word` tells it
/// so.
struct alignas(64) Reply {
  std::atomic<std::uint32_t> taken{0};  ///< written by the one faulting thread that waits here
  std::atomic<std::uint32_t> word{0};   ///< sequence << 2 | ReplyState; a futex
  int error = 0;                        ///< written by the helper before `word` says done
};

struct ForkWiped {
  /// Not 0 while a helper reads the pipe (its identity). Written by the helper; read by faulting
  /// threads: a stale value costs them a wait of bounded length, a stale 0 a commit of their own.
  std::atomic<std::uint32_t> helper_runs{0};
  std::atomic<std::uint32_t> helper_id{
      0};  ///< its thread id; written by the helper before helper_runs
  /// The processor that it was last told to run on, + 1; 0 for any so far, and `any_processor` for
  /// any from now on. Written by faulting threads.
  std::atomic<std::uint32_t> helper_processor{0};
  static constexpr std::uint32_t any_processor = UINT32_MAX;
  std::atomic<std::uint32_t> helper_joinable{0};    ///< written under the life-cycle lock
  std::atomic<std::uint32_t> reporter_joinable{0};  ///< written under the life-cycle lock
  std::atomic<std::uint32_t> report_state{0};       ///< ReportState, a futex: see reporter.hpp
  /// Descriptor number + 1 of each userfaultfd, 0 for none: a child's would be its parent's, and
  /// fill memory over there. Written under the life-cycle lock; read by whoever fills.
  std::atomic<int> userfault_descriptors[2]{};
  std::atomic<std::uint32_t> userfault_joinable[2]{};  ///< written under the life-cycle lock
  static constexpr std::size_t reply_count = 256;
  Reply replies[reply_count];
};

/// Bytes of zeroed memory that a fork zeroes again, never given back; nullptr when there is none to
/// be had.
void* map_fork_wiped(std::size_t bytes) noexcept;

/// The one instance; nullptr before make_fork_wiped() succeeded. Signal handlers included.
ForkWiped* fork_wiped() noexcept;

/// Makes it unless it is there. Under the life-cycle lock. 0 or an errno.
int make_fork_wiped() noexcept;

}  // namespace growstack::handler
