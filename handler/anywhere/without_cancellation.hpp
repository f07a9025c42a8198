// Code in which a pending cancellation may not act: what is noexcept cannot be unwound, and what
// holds a lock must give it back.
#pragma once

#include <pthread.h>

namespace growstack::handler {

/// Disables the cancellation of this thread while it exists. A cancellation that is pending stays
/// pending. pthread_setcancelstate(3): no system call.
class WithoutCancellation {
 public:
  WithoutCancellation() noexcept { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
  ~WithoutCancellation() { pthread_setcancelstate(before_, nullptr); }
  WithoutCancellation(const WithoutCancellation&) = delete;
  WithoutCancellation& operator=(const WithoutCancellation&) = delete;

 private:
  int before_ = PTHREAD_CANCEL_ENABLE;
};

}  // namespace growstack::handler
