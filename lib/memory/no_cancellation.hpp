// Functions that open a file, close a descriptor or wait for a thread are cancellation points
// (pthreads(7)). Inside a function that is noexcept, or in a destructor, a pending cancellation
// would end the process there.
#pragma once

#include <pthread.h>

namespace growstack {

/// Keeps the calling thread from being cancelled while it exists. A cancellation that is pending
/// meanwhile acts at the thread's next cancellation point.
class NoCancellation {
 public:
  NoCancellation() noexcept { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
  ~NoCancellation() { pthread_setcancelstate(before_, nullptr); }
  NoCancellation(const NoCancellation&) = delete;
  NoCancellation& operator=(const NoCancellation&) = delete;

 private:
  int before_ = PTHREAD_CANCEL_ENABLE;
};

}  // namespace growstack
