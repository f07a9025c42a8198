// What must run before a stack can grow.
#pragma once

#include "strategies/implementation.hpp"

namespace growstack {

/// Installs the fault handler, starts the helper thread if the strategy needs it and whatever else
/// the strategy needs, and gives this thread an alternate signal stack. Idempotent. Throws
/// std::system_error.
void start_handler(const Implementation& implementation);

/// Starts all of that anew if the fault handler is not the one in force: somebody has set another.
/// Throws std::system_error.
void look_at_handler(const Implementation& implementation);

}  // namespace growstack
