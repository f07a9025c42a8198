// The signal handler.
#pragma once

#include <csignal>

namespace growstack::handler {

/// Installed for SIGSEGV and SIGBUS.
void on_fault(int signal, siginfo_t* info, void* context) noexcept;

}  // namespace growstack::handler
