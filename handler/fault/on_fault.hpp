// The signal handler, and the functions by which the kernel enters it.
#pragma once

#include <csignal>

namespace growstack::handler {

/// How many times our handler may stand in the chain of a signal's handlers. A program that puts a
/// handler over ours has ours anew over that one, at the next level. Each level is a function of
/// its own with a previous action of its own (fault/forward.hpp). So a handler that calls what it
/// found finds the level below it, and nothing goes round in circles.
inline constexpr int level_count = 8;

using Entry = void (*)(int signal, siginfo_t* info, void* context);

/// Returns the function that is installed for SIGSEGV and SIGBUS at a level.
[[nodiscard]] Entry entry_of(int level) noexcept;

/// Returns the level of an action, or -1 if it is not ours.
[[nodiscard]] int level_of(const struct sigaction& action) noexcept;

}  // namespace growstack::handler
