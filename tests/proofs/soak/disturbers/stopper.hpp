// A process that stops and ends single threads of this one, as a debugger would: no signal reaches
// the threads of the library.
#pragma once

#include <sys/types.h>

#include <string_view>

namespace growstack::soak {

/// What happens to a thread.
enum class Fate {
  stopped,            ///< it stops for a while, wherever it is
  stopped_in_commit,  ///< it stops when it is about to call mprotect(2), which it does late
  ended,              ///< it ends, in the system call in which it is
  ended_in_commit,    ///< it ends instead of its next mprotect(2)
};

class Stopper {
 public:
  /// Forks. Before the first thread is started.
  Stopper();
  ~Stopper();
  Stopper(const Stopper&) = delete;
  Stopper& operator=(const Stopper&) = delete;

  /// Returns true if that happened: a thread may be in no system call, or commit nothing for 0.2 s.
  [[nodiscard]] bool have(pid_t thread, Fate fate, unsigned microseconds = 0);

 private:
  int socket_ = -1;
  pid_t process_ = -1;
};

/// Returns the id of the thread that has this name, or 0.
[[nodiscard]] pid_t thread_named(std::string_view name);

}  // namespace growstack::soak
