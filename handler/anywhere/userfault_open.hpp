// Opening a userfaultfd: which of the kernel's ways in is open here. Bare system calls, signal
// handlers included.
#pragma once

#include <growstack/handler/userfault.hpp>

namespace growstack::handler {

/// Returns a new userfaultfd, ready for use, or -1 with errno.
[[nodiscard]] int open_userfault(UserfaultKind kind) noexcept;

}  // namespace growstack::handler
