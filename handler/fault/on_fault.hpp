// The signal handler and what it counts.
#pragma once

#include <growstack/handler/handler.hpp>

#include <csignal>

namespace growstack::handler {

void on_fault(int signal, siginfo_t* info, void* context) noexcept;

}  // namespace growstack::handler
