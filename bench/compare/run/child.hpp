// Every measurement runs in a process of its own. Each then starts from a clean state, and a
// process that dies is a result like any other.
#pragma once

#include "run/progress.hpp"

#include <nlohmann/json.hpp>

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <span>
#include <string>

namespace growstack::compare {

/// What a child does: it answers a request. If it throws, the parent gets the message as a failure.
struct Task {
  const char* name;
  nlohmann::json (*answer)(const nlohmann::json& request, Progress& progress);
};

struct Answer {
  nlohmann::json result{};
  std::string failure{};     ///< empty if there is a result; otherwise what was thrown, or for
                             ///< example "killed by SIGSEGV"
  std::string last_words{};  ///< the first line that a failed child wrote to standard error
  bool died = false;         ///< a signal ended it

  /// Returns the failure and the last words, for a note.
  [[nodiscard]] std::string whole_failure() const {
    return failure + (last_words.empty() ? "" : ": " + last_words);
  }
};

/// Starts this program again for one task, and waits for its answer. Kills it after `patience`. The
/// child shows its progress on the same terminal. Throws std::system_error if no process can be
/// started.
[[nodiscard]] Answer ask_child(const char* task, const nlohmann::json& request,
                               const Progress& progress,
                               std::chrono::milliseconds patience = std::chrono::minutes(15));

/// For main(): serves if this process is such a child, and sets `exit_code`. Returns whether it is.
[[nodiscard]] bool serve_as_child(int argc, char** argv, std::span<const Task> tasks,
                                  int& exit_code);

/// A file in memory for what a child writes. Nobody needs to read it while the child runs.
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

/// Waits for a child and returns its wait(2) status. Kills it and returns nothing if it takes
/// longer than `patience`.
[[nodiscard]] std::optional<int> status_within(pid_t child, std::chrono::milliseconds patience);

/// Returns a signal's name, "SIGSEGV".
[[nodiscard]] std::string signal_name(int signal);

}  // namespace growstack::compare
