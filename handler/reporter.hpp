// Between the faulting thread, which collects the frames, and the parked reporter thread, which names them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace growstack::handler {

/// The value of ForkWiped::report_state, a futex.
///
///     absent --(reporter)--> parked --(faulting thread)--> requested --(reporter)--> done
///     parked --(uninstall)--> ending --(reporter)--> absent
enum class ReportState : std::uint32_t { absent = 0, parked, requested, done, ending };

/// Frames of the one stack that is reported, innermost first. Written by the faulting thread before `requested`. Addresses
/// beyond the first are return addresses.
struct Trace {
  static constexpr std::size_t capacity = std::size_t{64} * 1024;
  std::size_t count = 0;
  bool complete = true;
  const void* frames[capacity];
};

/// The one trace; its pages are touched only by a report.
Trace& the_trace() noexcept;

/// Has the unwinder do once what it does only once (loading, allocating), so that it does not have to in a handler.
void warm_up_unwinder() noexcept;

/// Collects the running thread's frames from the interrupted program counter on. Signal handlers, once warm.
void collect_trace(std::uintptr_t program_counter) noexcept;

}  // namespace growstack::handler
