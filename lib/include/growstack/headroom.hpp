// Memory before it is needed. A fault in the kernel never reaches our handler, so memory that the
// kernel touches on behalf of a program must be committed already.
//
// A buffer that is passed to a libc function is committed, because the call pushed its return
// address below the buffer. These two functions are for the other cases: a system call made inline
// from a frame that nobody has touched, a library that blocks every signal (posix_spawn, system,
// popen), a signal handler without SA_ONSTACK whose signal must not be lost.
#pragma once

#include <growstack/export.hpp>

#include <cstddef>
#include <system_error>

namespace growstack {

/// Commits the stack that `pointer` lies in down to `pointer`, so that anyone, the kernel included,
/// can read and write the `size` bytes from there on. If they are committed already, or belong to
/// no growstack stack, this costs one look-up and a comparison. Any thread, signal handlers
/// included.
///
/// Returns success; EINVAL if growth is needed and the bytes reach beyond the stack's base; ENOMEM
/// if `pointer` lies in the guard, or if a limit of the process forbids the growth.
[[nodiscard]] GROWSTACK_EXPORT std::error_code ensure_committed(const void* pointer,
                                                                std::size_t size) noexcept;

/// Commits `bytes` bytes below the caller's frame. Does nothing on a stack that is no growstack
/// stack. Any thread, signal handlers included. Returns success; ENOMEM if the stack has fewer
/// bytes left, or if a limit of the process forbids the growth.
[[nodiscard]] GROWSTACK_EXPORT std::error_code reserve_headroom(std::size_t bytes) noexcept;

}  // namespace growstack
