// Threads that run on growable stacks.
#pragma once

#pragma GCC visibility push(default)  // exported from a shared library

namespace growstack {

/// Prepares the calling thread for running on growable stacks: gives it an alternate signal stack
/// and unblocks SIGSEGV (handler::attach_thread). Making or acquiring a stack, call() and Thread do
/// it for their own thread; one that only resumes fibers which others made does it by this, as a
/// worker of a scheduler with work stealing. Without it the first growth there ends the process by
/// SIGSEGV. Idempotent and, the second time, two system calls. Any thread; not from a signal
/// handler. Throws std::system_error: ENOMEM (the message names the limit), EPERM on an alternate
/// signal stack that is too small.
void attach_thread();

}  // namespace growstack

#pragma GCC visibility pop
