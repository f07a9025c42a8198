// Signal handlers that run on the interrupted stack. Where that has no room for the frame, the
// kernel drops the signal: they want SA_ONSTACK in every thread that runs on a growable stack.
#pragma once

#include <csignal>

#pragma GCC visibility push(default)  // exported from a shared library

namespace growstack::handler {

/// Signals that have a handler without SA_ONSTACK now, the two that libc keeps for itself (32:
/// cancellation, 33: setuid in all threads) included, which sigaction(2) of libc does not show.
/// Look with sigismember(3). Any thread.
[[nodiscard]] sigset_t handlers_without_onstack() noexcept;

/// Adds SA_ONSTACK to the handlers of these signals and changes nothing else; signals without a
/// handler stay as they are. It reads and writes each action: not while another thread changes
/// them. Threads that are not attached have no alternate stack, and there the flag has no effect.
/// Any thread. Returns 0 or an errno of sigaction(2).
[[nodiscard]] int add_onstack(const sigset_t& signals) noexcept;

}  // namespace growstack::handler

#pragma GCC visibility pop
