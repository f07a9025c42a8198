// Userfaultfds as uninstall and fork see them.
#pragma once

namespace growstack::handler {

/// Ends the threads of both userfaultfds and closes these. Under the life-cycle lock, when no range
/// is left.
void end_userfaults() noexcept;

/// Makes what watch_in_child() reads. When the program is loaded, because a child must not find it
/// half made.
void prepare_to_watch_in_child() noexcept;

/// Watches what the parent watched with UserfaultKind::signal, in a forked child, before fork(2)
/// returns. Under the life-cycle lock.
void watch_in_child() noexcept;

}  // namespace growstack::handler
