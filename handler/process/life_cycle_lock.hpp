// The one lock of the handler library, for everything that starts and stops. Never taken on the way
// of a fault.
#pragma once

#include <mutex>

namespace growstack::handler {

/// Held while the table, the threads or the signal action change. Held across fork(2), so that a
/// child never inherits it locked by a thread that is gone.
class LifeCycleLock {
 public:
  LifeCycleLock() noexcept;

 private:
  std::unique_lock<std::mutex> held_;
};

/// True from install(signal) to uninstall(). Any thread.
[[nodiscard]] bool watches(int signal) noexcept;

}  // namespace growstack::handler
