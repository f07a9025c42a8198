// A program in a process of its own, one thread of which never uses growstack.
#pragma once

#include <optional>
#include <string>

#include <sys/types.h>

namespace growstack::compare {

/// Does some work so often, and returns the nanoseconds of each.
using Work = double (*)(unsigned times);

class Program {
 public:
  /// Starts it. With a strategy, growstack is active there: its handler is installed, its threads
  /// run, and 200 stacks of this strategy live, each of which has grown. Without one, a
  /// second thread waits all the time, as one of growstack's would. Throws std::system_error.
  Program(Work work, const std::optional<std::string>& strategy);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  /// Has the thread do its work so often, and returns the nanoseconds of each. Throws
  /// std::runtime_error if the program has died.
  [[nodiscard]] double time(unsigned times) const;

 private:
  pid_t process_ = -1;
  int to_ = -1;
  int from_ = -1;
};

}  // namespace growstack::compare
