// Memory before it is needed: what the kernel touches on behalf of a program must be committed
// already, because a fault in the kernel never reaches our handler.
//
// A buffer passed to a libc function is committed, for the call pushed its return address below it.
// These two are for what remains: a system call made inline from a frame that nobody has touched, a
// library that blocks every signal (posix_spawn, system, popen), a signal handler without
// SA_ONSTACK that must not be lost.
#pragma once

#include <cstddef>
#include <system_error>

#pragma GCC visibility push(default)  // exported from a shared library

namespace growstack {

/// Commits the stack that `pointer` lies in down to `pointer`, so that [pointer, pointer + size)
/// can be read and written by anyone, the kernel included. One look-up and a comparison when that
/// is so already, as it is for memory that belongs to no growstack stack. Any thread, signal
/// handlers included.
///
/// Returns success; EINVAL if growth is needed and [pointer, pointer + size) ends beyond the stack;
/// ENOMEM if it begins in the guard, or if a limit of the process forbids the growth.
std::error_code ensure_committed(const void* pointer, std::size_t size) noexcept;

/// The same for `bytes` below the caller's frame; nothing to do on a stack that is no growstack
/// stack.
std::error_code reserve_headroom(std::size_t bytes) noexcept;

}  // namespace growstack

#pragma GCC visibility pop
