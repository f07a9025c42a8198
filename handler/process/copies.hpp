// Copies of this library in one process: the program's and a plugin's, or those of two plugins.
// Each installs its own handler. They find each other by a note in their ELF file, so that they do
// not go on and on installing over each other.
#pragma once

#include <csignal>

namespace growstack::handler {

/// Returns true if the action is a handler of a copy of this library, and sets `next` to the action
/// that the copy forwards to. Any thread, not from a signal handler. Takes no lock of the loader's.
[[nodiscard]] bool copy_forwards_to(int signal, const struct sigaction& action,
                                    struct sigaction& next) noexcept;

}  // namespace growstack::handler
