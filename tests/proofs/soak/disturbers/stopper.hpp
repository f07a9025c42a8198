// A process that stops and ends single threads of this one, as a debugger would: no signal reaches
// the threads of the library.
#pragma once

#include <sys/types.h>

#include <string_view>

namespace growstack::soak {

class Stopper {
 public:
  /// Forks. Before the first thread is started.
  Stopper();
  ~Stopper();
  Stopper(const Stopper&) = delete;
  Stopper& operator=(const Stopper&) = delete;

  /// Stops the thread for so long, then lets it go on. Returns false if that was not possible.
  [[nodiscard]] bool stop(pid_t thread, unsigned microseconds) {
    return ask(thread, microseconds, 0);
  }
  /// Ends the thread in the system call in which it is. Returns false if it was in none.
  [[nodiscard]] bool end(pid_t thread) { return ask(thread, 0, 1); }
  /// Returns the descriptor that belongs to it.
  [[nodiscard]] int descriptor() const { return socket_; }

 private:
  bool ask(pid_t thread, unsigned microseconds, int ends);

  int socket_ = -1;
  pid_t process_ = -1;
};

/// Returns the id of the thread that has this name, or 0.
[[nodiscard]] pid_t thread_named(std::string_view name);

}  // namespace growstack::soak
