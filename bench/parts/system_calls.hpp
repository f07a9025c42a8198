// Finds out whether code makes system calls: the kernel stops each of them at its entry.
#pragma once

#include <functional>

namespace growstack::bench {

/// Runs `body` so often, and returns in how many runs the calling thread made a system call. Uses
/// SIGSYS in the meantime. Only one thread may call it at a time. Throws std::system_error if the
/// kernel has no system call user dispatch (Linux 5.11).
[[nodiscard]] unsigned runs_with_system_calls(unsigned runs, const std::function<void()>& body);

}  // namespace growstack::bench
