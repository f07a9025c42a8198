// Threads that run on growable stacks.
#pragma once

#include <growstack/export.hpp>

namespace growstack {

/// Prepares the calling thread for running on growable stacks: gives it an alternate signal stack,
/// and unblocks SIGSEGV and SIGBUS (handler::attach_thread). In a thread that is not attached the
/// first growth ends the process by SIGSEGV.
///
/// Making or acquiring a stack, call() and Thread attach their own thread. A thread that only
/// resumes fibers which other threads made must call this function; a worker of a scheduler with
/// work stealing is one. Once a thread is enough, unless other code later blocks SIGSEGV or SIGBUS,
/// or takes the alternate stack away: then attach again, or link growstack::keep_handler, which
/// prevents that. Idempotent: a second call costs two system calls, or none with that. Any thread;
/// not from a signal handler. Throws std::system_error: ENOMEM with a message that names the limit;
/// EPERM if the caller runs on an alternate signal stack.
GROWSTACK_EXPORT void attach_thread();

}  // namespace growstack
