// The last words about a stack that cannot grow: one raw line at once, then a symbolised trace.
#pragma once

#include <growstack/handler/classify.hpp>

#pragma GCC visibility push(default)  // exported from a shared library

namespace growstack::handler {

/// Writes to standard error what happened to `slot` and a trace of the running stack. `error` is 0
/// for a stack that reached its floor, otherwise what kept it from growing. Made for
/// Operations::on_overflow: runs in a signal handler, on the alternate stack; returns after a
/// bounded time. The symbols are made with Boost.Stacktrace by the parked reporter thread, because
/// that allocates; if it does not answer (the faulting thread may hold the allocator's lock), raw
/// addresses are written instead.
void report_overflow(const SlotRecord& slot, const Fault& fault, int error) noexcept;

/// Says once in the life of this process, in one line on standard error, that a signal was lost for
/// want of room for its frame, and what to do about it. Runs in a signal handler.
void report_lost_signal(const SlotRecord& slot, const Fault& fault) noexcept;

}  // namespace growstack::handler

#pragma GCC visibility pop
