// The monitor thread: answers the touches of UserfaultKind::monitor. The threads that touched wait
// in the kernel meanwhile, and raise no signal.
#pragma once

#include "threads/service_thread.hpp"

#include <atomic>
#include <cstdint>

namespace growstack::handler {

/// Its descriptor is the userfaultfd.
class Monitor final : public ServiceThread {
 public:
  constexpr Monitor() noexcept : ServiceThread("stack-monitor", &ForkWiped::monitor_joinable) {}

 private:
  int prepare(int userfault) noexcept override;
  void run(int userfault) noexcept override;
  bool ask_to_end() noexcept override;
  void remove_bell() noexcept;

  /// The bell: a page whose touch wakes the monitor, to see whether it is to end. A descriptor
  /// would not do, because the program might close it and open it anew.
  std::atomic<std::uintptr_t> bell_{0};
  /// Whether the monitor is to end when the bell rings. The kernel rings it, too, for a program
  /// that locks or reads all memory.
  std::atomic<bool> is_to_end_{false};
};

extern Monitor the_monitor;

}  // namespace growstack::handler
