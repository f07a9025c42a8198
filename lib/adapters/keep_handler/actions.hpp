// The program's actions: what it has set with sigaction(2) for kept signals, and the bits that are
// missing in the kernel's masks of all other actions.
//
// sigaction(2) is async-signal-safe, so no lock may be taken here: a signal handler that interrupts
// the owner of the lock would wait for ever. Each different action is therefore stored once and
// never changed, and the action of a signal is one word, the index of the stored one. To set an
// action is an exchange of that word. So the old action that is returned is the right one, whoever
// else sets one at the same time, and a fault that is being forwarded reads an action undisturbed.
#pragma once

#include <csignal>
#include <cstdint>

namespace growstack::keep {

/// Returns the program's action for a kept signal.
struct sigaction program_action(int signal) noexcept;

/// Sets the program's action for a kept signal, and the old one unless `old` is null. Returns 0, or
/// ENOMEM if the program has set 8,192 different actions before.
int exchange_program_action(int signal, const struct sigaction& action,
                            struct sigaction* old) noexcept;

/// Returns the program's action for one call of its handler: see KeepHandler.
struct sigaction take_program_action(int signal) noexcept;

/// sigaction(2) for a signal that is not kept, while `kept_signals` are.
int change_other_action(int signal, const struct sigaction* action, struct sigaction* old,
                        std::uint64_t kept_signals) noexcept;

/// Notes that the action of a signal that is not kept was set by another function of libc, which
/// blocks no kept signal.
void forget_removed_bits(int signal) noexcept;

// For the table: see KeepHandler.
int keep(int signal, const struct sigaction* first, bool (*is_vfork_child)()) noexcept;
int give_back(int signal) noexcept;
void (*first_handler(int signal))(int, siginfo_t*, void*);

}  // namespace growstack::keep
