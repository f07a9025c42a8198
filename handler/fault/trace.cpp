#include "fault/trace.hpp"

#include <unwind.h>

namespace growstack::handler {
namespace {

constinit Trace trace;

/// Walking takes about 0.2 us a frame: seconds at most.
constexpr std::size_t most_frames = std::size_t{16} * 1024 * 1024;

struct Walk {
  std::uintptr_t program_counter;
  /// The walk starts in our handler, the trace with the code that it interrupted.
  bool interrupted_seen = false;
};

_Unwind_Reason_Code keep_frame(_Unwind_Context* context, void* argument) {
  auto& walk = *static_cast<Walk*>(argument);
  const std::uintptr_t address = _Unwind_GetIP(context);
  walk.interrupted_seen = walk.interrupted_seen || address == walk.program_counter;
  if (!walk.interrupted_seen || address == 0) {
    return _URC_NO_REASON;
  }
  if (trace.total == most_frames) {
    trace.is_cut = true;
    return _URC_END_OF_STACK;
  }
  const auto* const frame = reinterpret_cast<const void*>(address);
  if (trace.total < Trace::capacity) {
    trace.inner[trace.total] = frame;
  } else {
    trace.outer[trace.total % Trace::capacity] = frame;
  }
  ++trace.total;
  return _URC_NO_REASON;
}

}  // namespace

Trace& the_trace() noexcept { return trace; }

// Tried and dropped: Boost.Stacktrace's safe_dump_to(). It keeps the inner end only, and of a
// runaway recursion one wants to know who began it.
void collect_trace(std::uintptr_t program_counter) noexcept {
  trace.total = 0;
  trace.is_cut = false;
  Walk walk{.program_counter = program_counter};
  _Unwind_Backtrace(keep_frame, &walk);
}

// Keeps nothing, because a thread may report meanwhile.
void warm_up_unwinder() noexcept {
  _Unwind_Backtrace([](_Unwind_Context*, void*) { return _URC_NO_REASON; }, nullptr);
}

}  // namespace growstack::handler
