// The threads that keep and read userfaultfds, as install and uninstall see them.
#pragma once

namespace growstack::handler {

/// Ends them and closes their descriptors. Under the life-cycle lock, when no range is left.
void end_userfault_threads() noexcept;

}  // namespace growstack::handler
