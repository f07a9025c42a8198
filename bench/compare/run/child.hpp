// Every measurement runs in a process of its own: a clean state for each, and one that dies is a
// result like any other.
#pragma once

#include "run/progress.hpp"

#include <nlohmann/json.hpp>

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <span>
#include <string>

namespace growstack::compare {

/// What a child does: answers a request. It may throw: then the parent gets the message as a
/// failure.
struct Task {
  const char* name;
  nlohmann::json (*answer)(const nlohmann::json& request, Progress& progress);
};

struct Answer {
  nlohmann::json result{};
  std::string
      failure{};  ///< empty if there is a result; otherwise what was thrown, or "killed by SIGSEGV"
  std::string last_words{};  ///< of one that failed: the first line of its standard error
  bool died = false;         ///< by a signal

  /// Both, for a note.
  [[nodiscard]] std::string whole_failure() const {
    return failure + (last_words.empty() ? "" : ": " + last_words);
  }
};

/// Starts this program again for one task and waits for it; it is killed after `patience`. The
/// child draws its progress on the same terminal. Throws std::system_error if there can be no
/// child.
[[nodiscard]] Answer ask_child(const char* task, const nlohmann::json& request,
                               const Progress& progress,
                               std::chrono::milliseconds patience = std::chrono::minutes(15));

/// For main(): true if this process is such a child; then everything is done, and `exit_code` is
/// set.
[[nodiscard]] bool serve_as_child(int argc, char** argv, std::span<const Task> tasks,
                                  int& exit_code);

/// A file in memory, for what a child writes: nobody need read it while the child runs.
class Scratch {
 public:
  explicit Scratch(const char* name);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  [[nodiscard]] std::string text() const;

 private:
  int descriptor_;
};

/// Waits for a child's wait(2) status; none if it took too long and was killed.
[[nodiscard]] std::optional<int> status_within(pid_t child, std::chrono::milliseconds patience);

/// "SIGSEGV"
[[nodiscard]] std::string signal_name(int signal);

}  // namespace growstack::compare
