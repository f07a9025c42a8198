// Chooses the file of the processor that this is compiled for.
#pragma once

#include "machine/contract.hpp"

#if defined(__x86_64__)
#include "machine/x86_64.hpp"
#else
#error "growstack: no file for this processor yet: see handler/machine/contract.hpp"
#endif

namespace growstack::handler {

static_assert(Machine<ThisMachine>);

}  // namespace growstack::handler
