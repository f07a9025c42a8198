// The one lock of the handler library, for everything that starts and stops. A fault never takes
// it.
#pragma once

#include <mutex>

namespace growstack::handler {

/// Held while the table, the threads or the signal action change. It is held over every fork(2) as
/// well, so that a child never inherits it locked by a thread that is gone.
class LifeCycleLock {
 public:
  LifeCycleLock() noexcept;

 private:
  std::unique_lock<std::mutex> held_;
};

}  // namespace growstack::handler
