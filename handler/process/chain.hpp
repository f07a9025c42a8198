// Where our handler stands among the handlers of a signal, and how it gets there.
#pragma once

namespace growstack::handler {

/// Returns true while the handler in force for the signal is ours. Any thread.
[[nodiscard]] bool is_first_in_chain(int signal) noexcept;

/// Sees to it that a fault reaches our handler: does nothing if the action in force is ours, or
/// that of a copy of this library from which forwarding reaches ours; otherwise installs ours over
/// it. Under the life-cycle lock. Returns 0 or an errno of sigaction(2).
[[nodiscard]] int enter_chain(int signal) noexcept;

/// Puts back what ours was installed over. Under the life-cycle lock. Returns 0, or EPERM if a
/// handler of somebody else's is in force that may call ours.
[[nodiscard]] int leave_chain(int signal) noexcept;

}  // namespace growstack::handler
