// Threads that do their work at the same time.
#pragma once

#include <functional>

namespace growstack::bench {

/// A step of one of the threads, which are numbered from 0.
using ThreadStep = std::function<void(unsigned thread)>;

/// Each thread runs `prepare`, waits until all have done so, and runs `work`. Nanoseconds from when
/// the first one goes until the last one is done. Throws what one of them throws, and
/// std::system_error if there cannot be so many.
[[nodiscard]] double time_at_once(unsigned threads, const ThreadStep& prepare,
                                  const ThreadStep& work);

/// Binds the calling thread to the one of that number among the processors it may use; from the
/// first one again if there are not as many. Throws std::system_error.
void stay_on_processor(unsigned number);

}  // namespace growstack::bench
