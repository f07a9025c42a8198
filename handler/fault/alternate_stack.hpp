// The end of an alternate signal stack: a signal handler of the program used more of it than there
// is.
#pragma once

#include <growstack/handler/classify.hpp>

namespace growstack::handler {

/// Returns true if the fault is the overflow of the alternate signal stack that this thread has,
/// after it has said so. The handler that overflowed it cannot go on: its frames at the upper end
/// of the stack are overwritten. Signal handlers.
[[nodiscard]] bool report_overflow_of_alternate_stack(const Fault& fault) noexcept;

}  // namespace growstack::handler
