// Signal handlers that run on the interrupted stack. If that has no room for the frame, the kernel
// drops the signal. So such handlers need SA_ONSTACK if a thread that runs on a growable stack can
// take their signal.
#pragma once

#include <growstack/export.hpp>

#include <csignal>

namespace growstack::handler {

/// Returns the signals that have a handler without SA_ONSTACK now. That includes the two that libc
/// keeps for itself (32: cancellation, 33: setuid in all threads), which sigaction(2) of libc does
/// not show. Look with sigismember(3). Any thread.
[[nodiscard]] GROWSTACK_EXPORT sigset_t handlers_without_onstack() noexcept;

/// Adds SA_ONSTACK to the handlers of these signals and changes nothing else. Signals without a
/// handler stay as they are. Reads and writes each action, so no other thread may change them
/// meanwhile. Threads that are not attached have no alternate stack, and there the flag has no
/// effect. Any thread. Returns 0 or an errno of sigaction(2).
[[nodiscard]] GROWSTACK_EXPORT int add_onstack(const sigset_t& signals) noexcept;

}  // namespace growstack::handler
