// What is thread_local in the program, of each thread of a model: fibers share one thread of the
// kernel, so the memory is changed when they change. (What is thread_local in a shared library,
// errno for instance, they do share. So it must not be used across a step.)
#pragma once

#include <cstddef>
#include <vector>

namespace growstack::explorer {

class ThreadLocals {
 public:
  /// Sets them to what a new thread finds.
  void begin();
  /// Exchanges them for those that the program sees.
  void swap();

 private:
  std::vector<std::byte> bytes_{};
  std::vector<std::byte> other_{};
};

/// Ends the running thread's objects that are thread_local, the last one first. In the thread, when
/// its function has returned.
void end_thread_locals();
/// Forgets those of all threads.
void forget_thread_locals() noexcept;

}  // namespace growstack::explorer
