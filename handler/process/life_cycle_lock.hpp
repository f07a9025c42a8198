// The one lock of the handler library, for everything that starts and stops. A fault never takes
// it.
#pragma once

#include <growstack/handler/without_cancellation.hpp>

#include <mutex>

namespace growstack::handler {

/// Held while the table, the threads or the signal action change. It is held over every fork(2) as
/// well, so that a child never inherits it locked by a thread that is gone. No cancellation acts
/// meanwhile.
class LifeCycleLock {
 public:
  LifeCycleLock() noexcept;

 private:
  WithoutCancellation without_cancellation_;
  std::unique_lock<std::mutex> held_;
};

}  // namespace growstack::handler
