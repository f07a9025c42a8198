// The processors that this process was started on.
#pragma once

#include <sched.h>

namespace growstack::handler {

/// Returns the processors that the process was started on, or an empty set if the kernel did not
/// tell. A program under taskset(1) stays there; threads that it pins later do not count. Signal
/// handlers included.
[[nodiscard]] const cpu_set_t& processors_at_start() noexcept;

}  // namespace growstack::handler
