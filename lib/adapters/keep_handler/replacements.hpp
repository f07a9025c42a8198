// The functions that replace libc's, as far as they are used here themselves.
#pragma once

#include <csignal>

namespace growstack::keep {

/// sigaction(2) as the program calls it.
int change_action(int signal, const struct sigaction* action, struct sigaction* old) noexcept;

/// Either of libc's sigprocmask(2) and pthread_sigmask(3), which differ in how they report errors.
using ChangeMask = int(int how, const sigset_t* mask, sigset_t* old);

/// Changes the mask of this thread as the program sees it: the kernel's, by libc's function, and
/// the bits of kept signals. Returns what libc's function returns.
int change_mask(ChangeMask* libc_function, int how, const sigset_t* mask, sigset_t* old) noexcept;

}  // namespace growstack::keep
