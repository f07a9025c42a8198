// The last words about a stack that cannot grow: one raw line at once, then a trace with names.
#pragma once

#include <growstack/export.hpp>
#include <growstack/handler/classify.hpp>

namespace growstack::handler {

/// Writes to standard error what happened to `slot`, and a trace of the running stack: an
/// Operations::on_overflow. Returns Disposition::forward, after a bounded time. The symbolizer
/// thread makes the names with Boost.Stacktrace, because that allocates. If there is no such
/// thread, or if it does not answer, because the faulting thread may hold the allocator's lock, raw
/// addresses are written instead. Runs in a signal handler, on the alternate stack. If the slot was
/// reused meanwhile, the line tells of the next stack; nothing worse happens.
[[nodiscard]] GROWSTACK_EXPORT Disposition report_overflow(const SlotRecord& slot,
                                                           const Fault& fault, void* context,
                                                           int error) noexcept;

/// Says whether the process has the symbolizer thread (`stack-symbols`). At first it has. This
/// thread turns the frames of reports into names, files and lines, and gives back what is kept for
/// later stacks (idle.hpp). Without it, a report has raw addresses, which a core dump explains, and
/// later stacks and calls give back what is kept.
///
/// If the thread is not wanted, it has ended before this function returns, which takes up to ten
/// seconds if it cannot write. If it is wanted again, the next stack or install() starts it. For
/// processes that must have a single thread, as unshare(2) and setns(2) want it for user
/// namespaces: call this first, and take strategies that need no thread
/// (StrategyDescription::needs_thread). Any thread, not from a signal handler.
GROWSTACK_EXPORT void set_symbolizer(bool wanted) noexcept;

/// Says once in the life of this process, in one line on standard error, that a signal was lost
/// because the stack had no room for its frame, and what to do about it. Runs in a signal handler.
GROWSTACK_EXPORT void report_lost_signal(const SlotRecord& slot, const Fault& fault) noexcept;

}  // namespace growstack::handler
