// The helper thread: the other end of the pipe. It commits and answers. It writes nothing that
// belongs to a stack: the limit is the faulting thread's to lower. It never touches a page of
// any stack, allocates nothing, and shares no descriptor with the program.
#pragma once

#include "threads/service_thread.hpp"

namespace growstack::handler {

/// Its descriptor is the read end of the pipe.
class Helper final : public ServiceThread {
 public:
  constexpr Helper() noexcept : ServiceThread("stack-helper", &ForkWiped::helper_joinable) {}

 private:
  void settle() noexcept override;
  void run(int read_end) noexcept override;
  bool ask_to_end() noexcept override;
};

extern Helper the_helper;

}  // namespace growstack::handler
