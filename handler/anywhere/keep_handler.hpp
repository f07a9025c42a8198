// The component keep_handler as this library sees it: whether it is in the process, and libc's own
// functions, also where the component replaces them.
#pragma once

#include <growstack/handler/keep_handler.hpp>

#include <csignal>

namespace growstack::handler {

/// Returns the component's table, or null if it is not in this process. Signal handlers included.
[[nodiscard]] const KeepHandler* keep_component() noexcept;

/// sigaction(2) towards the kernel. Returns 0 or an errno. Signal handlers included.
[[nodiscard]] int change_action(int signal, const struct sigaction* action,
                                struct sigaction* old) noexcept;

/// pthread_sigmask(3) towards the kernel. Returns 0 or an errno. Signal handlers included.
[[nodiscard]] int change_mask(int how, const sigset_t* mask, sigset_t* old) noexcept;

/// sigaltstack(2) towards the kernel. Returns 0 or an errno. Signal handlers included.
[[nodiscard]] int change_alternate_stack(const stack_t* stack, stack_t* old) noexcept;

}  // namespace growstack::handler
