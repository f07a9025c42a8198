// Whether code makes system calls: asked of the kernel, which stops each of them on its way in.
#pragma once

#include <functional>

namespace growstack::bench {

/// Runs `body` so often, and counts the runs in which the calling thread made a system call. Takes
/// SIGSYS meanwhile. For one thread at a time. Throws std::system_error where the kernel has no
/// system call user dispatch (Linux 5.11).
[[nodiscard]] unsigned runs_with_system_calls(unsigned runs, const std::function<void()>& body);

}  // namespace growstack::bench
