// Handing on a fault that is not ours, exactly as if we were not there.
#pragma once

#include <csignal>

namespace growstack::handler {

/// Returns the action that would be in force without ours, for SIGSEGV or SIGBUS. Signal handlers.
[[nodiscard]] struct sigaction previous_action(int signal) noexcept;

/// Remembers the action that was in force before ours. Under the life-cycle lock.
void set_previous_action(int signal, const struct sigaction& action) noexcept;

/// Calls the previous handler by its own flags and mask, or arranges for the default action to
/// happen once this handler returns. Signal handlers.
void forward(int signal, siginfo_t* info, void* context) noexcept;

}  // namespace growstack::handler
