// The two threads of the handler library. Both block every signal, have ordinary stacks, the default scheduling policy and
// the processors that the process was started on, whatever the thread that happened to start them (its nice value they
// inherit).
#pragma once

#include <pthread.h>

namespace growstack::handler {

/// Starts a thread with every signal blocked and the default policy. 0 or the error of pthread_create.
int start_service_thread(pthread_t& thread, void* (*body)(void*), void* argument) noexcept;

/// Called first by the thread itself: name, and the affinity that it would otherwise inherit from its creator.
void settle_service_thread(const char* name) noexcept;

/// The helper: reads requests from `read_end`, which it moves to a descriptor table of its own. Under the life-cycle lock.
/// 0 or an errno.
int start_helper_thread(int read_end) noexcept;
/// For a helper that was asked to end, or sees end-of-file.
void join_helper_thread() noexcept;
/// For one that does neither.
void abandon_helper_thread() noexcept;

/// The reporter: parked until a report wants symbols. Under the life-cycle lock. 0 or an errno.
int start_reporter_thread() noexcept;
void end_reporter_thread() noexcept;

}  // namespace growstack::handler
