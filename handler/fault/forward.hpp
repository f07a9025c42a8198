// Handing on a fault that is not ours, exactly as if we were not there.
#pragma once

#include <growstack/handler/keep_handler.hpp>

#include <csignal>

namespace growstack::handler {

/// Returns the component keep_handler if it has the action that was in force before our level,
/// which the program may change; otherwise null. Signal handlers included.
[[nodiscard]] const KeepHandler* keeper_beneath(int level, int signal) noexcept;

/// Returns the action that was in force before our level, for SIGSEGV or SIGBUS. Signal handlers
/// included.
[[nodiscard]] struct sigaction previous_action(int level, int signal) noexcept;

/// Remembers the action that was in force before our level. Under the life-cycle lock.
void set_previous_action(int level, int signal, const struct sigaction& action) noexcept;

/// Calls the previous handler by its own flags and mask, or arranges for the default action to
/// happen once this handler returns. That also happens, with a line about it, if the fault was
/// handed on from this level already: two handlers call each other. If the program blocks the
/// signal in the view that keep_handler gives it, a fault kills, and what was sent waits. Signal
/// handlers.
void forward(int level, int signal, siginfo_t* info, void* context) noexcept;

/// Arranges for the default action to happen once this handler returns. Signal handlers.
void die_by_default(int signal, const siginfo_t& info, void* context) noexcept;

}  // namespace growstack::handler
