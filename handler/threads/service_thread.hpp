// The threads of the handler library. All of them block every signal, have ordinary stacks, the
// default scheduling policy and the processors that the process was started on, whatever the thread
// that happened to start them (its nice value they inherit); the helper is moved about afterwards,
// see request_pipe.cpp.
#pragma once

#include <pthread.h>

#include <initializer_list>

namespace growstack::handler {

/// Starts a thread with every signal blocked and the default policy. 0 or the error of
/// pthread_create.
int start_service_thread(pthread_t& thread, void* (*body)(void*), void* argument) noexcept;

/// Called first by the thread itself: name, and the affinity that it would otherwise inherit from
/// its creator.
void settle_service_thread(const char* name) noexcept;

/// Called by the thread itself, which never runs long: the scheduler then lets it go first among
/// equals (Linux 6.12; older kernels take no notice).
void ask_for_short_slices() noexcept;

/// Called by the thread itself: a descriptor table of its own with nothing in it but these
/// (ascending). A program that closes descriptors it does not know cannot take them away, and the
/// thread keeps none of the program's files open. close_range(2), Linux 5.9, and not unshare(2),
/// which container runtimes forbid. The record locks of the program are safe: they belong to its
/// table. 0 or an errno.
int keep_descriptors_only(std::initializer_list<int> ascending) noexcept;

/// The helper: reads requests from `read_end`, which it moves to a descriptor table of its own.
/// Under the life-cycle lock. 0 or an errno.
int start_helper_thread(int read_end) noexcept;
/// For a helper that was asked to end, or sees end-of-file.
void join_helper_thread() noexcept;
/// For one that does neither.
void abandon_helper_thread() noexcept;

/// The reporter: parked until a report wants symbols. Under the life-cycle lock. 0 or an errno.
int start_reporter_thread() noexcept;
void end_reporter_thread() noexcept;

}  // namespace growstack::handler
