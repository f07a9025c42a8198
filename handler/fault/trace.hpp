// Between the faulting thread, which collects the frames, and the parked reporter thread, which
// names them.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace growstack::handler {

/// The value of ForkWiped::report_state, a futex.
///
///     absent --(install)--> parked --(faulting thread)--> requested --(reporter)--> done or failed
///     done, failed --(faulting thread)--> requested
///     parked, done, failed --(uninstall)--> ending --(reporter)--> absent
///
/// All waits for `requested` to pass are bounded; nobody but the reporter ends it.
enum class ReportState : std::uint32_t { absent = 0, parked, requested, done, failed, ending };

/// Frames of the one stack that is reported, innermost first: as many as fit from its inner end,
/// where it overflowed, and from its outer end, where the recursion began. Written by the faulting
/// thread before `requested`. Addresses beyond the first are return addresses.
struct Trace {
  static constexpr std::size_t capacity = std::size_t{32} * 1024;
  std::size_t total = 0;        ///< frames that were walked
  bool whole = true;            ///< they reached the outer end
  const void* inner[capacity];  ///< frames 0 and up
  const void* outer[capacity];  ///< the last ones: frame n, from `capacity` on, at n % capacity

  [[nodiscard]] std::size_t inner_count() const noexcept { return std::min(total, capacity); }
  [[nodiscard]] std::size_t outer_count() const noexcept {
    return std::min(total - inner_count(), capacity);
  }
};

/// The one trace; its pages are touched only by a report.
Trace& the_trace() noexcept;

/// Has the unwinder do once what it does only once (loading, allocating), so that it does not have
/// to in a handler.
void warm_up_unwinder() noexcept;

/// Collects, in bounded time, the running thread's frames from the interrupted program counter on.
/// Signal handlers, once warm.
void collect_trace(std::uintptr_t program_counter) noexcept;

}  // namespace growstack::handler
