// Handlers that somebody puts over ours, and takes away again.
#pragma once

#include "proofs/soak/random.hpp"

namespace growstack::soak {

/// Puts a handler that calls the one before it over SIGSEGV or SIGBUS for a moment.
void swap_a_handler(Random& random);

}  // namespace growstack::soak
