// Which signals are ours.
#pragma once

namespace growstack::handler {

/// Returns true from install(signal) to uninstall(). Any thread.
[[nodiscard]] bool watches(int signal) noexcept;

}  // namespace growstack::handler
