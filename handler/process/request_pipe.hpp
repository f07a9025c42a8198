// The request pipe and the helper at its other end, as uninstall sees them.
#pragma once

namespace growstack::handler {

/// Ends the helper and closes the pipe. Under the life-cycle lock.
void end_helper() noexcept;

}  // namespace growstack::handler
