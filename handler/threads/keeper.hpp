// The keeper thread: holds a userfaultfd in a descriptor table of its own. If the program closes
// descriptors that it does not know, the kernel does not forget whose memory this is.
#pragma once

#include "threads/service_thread.hpp"

#include <atomic>
#include <cstdint>

namespace growstack::handler {

/// Its descriptor is the userfaultfd of UserfaultKind::signal.
class Keeper final : public ServiceThread {
 public:
  constexpr Keeper() noexcept : ServiceThread("stack-keeper", &ForkWiped::keeper_joinable) {}

 private:
  int prepare(int userfault) noexcept override;
  void run(int userfault) noexcept override;
  bool ask_to_end() noexcept override;

  /// A futex. A descriptor would not do, because the program might close it and open it anew.
  std::atomic<std::uint32_t> may_end_{0};
};

extern Keeper the_keeper;

}  // namespace growstack::handler
