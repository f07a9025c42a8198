// Signal handlers that run on the interrupted stack. If that has no room for the frame, the kernel
// drops the signal. So such handlers need SA_ONSTACK if a thread that runs on a growable stack can
// take their signal.
//
//     sigset_t signals = growstack::handler::handlers_without_onstack();
//     sigdelset(&signals, GC_get_suspend_signal());  // a handler that uses its own stack pointer
//     const int error = growstack::handler::add_onstack(signals);
//
// Leave out each handler that takes its own stack pointer for that of the code that it interrupted.
// Collectors have such handlers if they stop threads by a signal and scan their stacks: libgc does.
// On the alternate stack it would scan the wrong memory, and free objects in use or crash. A
// handler that takes the stack pointer from its ucontext_t may have the flag.
#pragma once

#include <growstack/export.hpp>

#include <csignal>

namespace growstack::handler {

/// Returns the signals that have a handler without SA_ONSTACK now. That includes the two that libc
/// keeps for itself (32: cancellation, 33: setuid in all threads), which sigaction(2) of libc does
/// not show; those two may have the flag. Look with sigismember(3). Before you hand the set to
/// add_onstack(), take out the handlers that note their own stack pointer. Any thread.
[[nodiscard]] GROWSTACK_EXPORT sigset_t handlers_without_onstack() noexcept;

/// Adds SA_ONSTACK to the handlers of these signals and changes nothing else. Leave out the
/// handlers that note or use their own stack pointer, such as the one by which libgc stops threads
/// (GC_get_suspend_signal()): on the alternate stack they note the wrong one. Signals without a
/// handler stay as they are. Reads and writes each action, so no other thread may change them
/// meanwhile. Threads that are not attached have no alternate stack, and there the flag has no
/// effect. Any thread. Returns 0 or an errno of sigaction(2).
[[nodiscard]] GROWSTACK_EXPORT int add_onstack(const sigset_t& signals) noexcept;

}  // namespace growstack::handler
