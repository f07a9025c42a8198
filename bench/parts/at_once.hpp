// Threads that do their work at the same time.
#pragma once

#include <functional>

namespace growstack::bench {

/// What one of the threads does; they are numbered from 0.
using ThreadStep = std::function<void(unsigned thread)>;

/// Runs `prepare` on each thread, waits until all are ready, and runs `work` on each. Returns the
/// nanoseconds from when the first one starts its work until the last one is done. Throws what one
/// of them throws, and std::system_error if there cannot be so many threads.
[[nodiscard]] double time_at_once(unsigned threads, const ThreadStep& prepare,
                                  const ThreadStep& work);

/// Binds the calling thread to one of the processors that it may use. If there are fewer than
/// `number`, counts from the first one again. Throws std::system_error.
void stay_on_processor(unsigned number);

/// Keeps this thread, and threads that it makes from now on, on this processor. The kernel starts a
/// thread on an idle processor, and that one may be a quarter faster or slower at the time. Throws
/// std::system_error.
void stay_on_this_processor();

}  // namespace growstack::bench
