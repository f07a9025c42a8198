// Functions that open a file, close a descriptor or wait for a thread are cancellation points
// (pthreads(7)). Where no exception may leave, or a lock must be given back, a pending cancellation
// would end the process.
#pragma once

#include <pthread.h>

namespace growstack::handler {

/// Keeps the calling thread from being cancelled while it exists. A cancellation that is pending
/// meanwhile acts at the thread's next cancellation point. No system call
/// (pthread_setcancelstate(3)); any thread.
class WithoutCancellation {
 public:
  /// Disables cancellation.
  WithoutCancellation() noexcept { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
  /// Lets the thread be cancelled again, if it could be before.
  ~WithoutCancellation() { pthread_setcancelstate(before_, nullptr); }
  WithoutCancellation(const WithoutCancellation&) = delete;
  WithoutCancellation& operator=(const WithoutCancellation&) = delete;

 private:
  int before_ = PTHREAD_CANCEL_ENABLE;
};

}  // namespace growstack::handler
