// The symbolizer thread: parked until a stack overflows, then turns the collected frames into
// names, files and lines with Boost.Stacktrace. That allocates and takes locks, so the faulting
// thread must not do it. While something is kept although nobody uses it, it wakes now and then and
// looks after that (idle_looks.hpp).
#pragma once

#include "threads/service_thread.hpp"

namespace growstack::handler {

/// It shares the program's descriptors, because it opens files and writes to standard error.
class Symbolizer final : public ServiceThread {
 public:
  constexpr Symbolizer() noexcept
      : ServiceThread("stack-symbols", &ForkWiped::symbolizer_joinable) {}

 private:
  int prepare(int descriptor) noexcept override;
  void run(int descriptor) noexcept override;
  bool ask_to_end() noexcept override;
};

extern Symbolizer the_symbolizer;

}  // namespace growstack::handler
