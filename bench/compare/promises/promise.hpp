// The promises of a stack, and how each is put to the test. Every cell of the table is an answer of
// a child process; nothing here is known beforehand.
//
//     promises.cpp              the group: asks, keeps the answers, prints them
//     promises_calls.cpp        system calls into memory that nobody has touched
//     promises_signals.cpp      signals and libc functions near the limit
//     promises_memory.cpp       what a stack costs, and which limits of a process count
//     promises_end.cpp          running past the end
//     promises_life.cpp         growth under odd circumstances: forked, signals blocked, without
//     privileges promises_worker.hpp       a process that may die of what it tries
//     promises_advice.cpp       which one to choose, concluded from the cells
//     promises_notes.cpp        the table as Markdown
#pragma once

#include "any_stack.hpp"

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace growstack::compare::promises {

/// One answer.
struct Cell {
  std::optional<double>
      value{};  ///< 1 or 0 for yes and no; none: it could not be tried, and the note says why
  std::string word{};  ///< what the matrix shows: "yes", "EFAULT", "8 MiB"
  std::string note{};  ///< what a reader must know besides
};

/// By the name of a promise.
using Cells = std::map<std::string, Cell>;

/// What is asked of a child.
struct Question {
  std::string subject;
  bool quick = false;
};

struct Promise {
  const char* name;   ///< the metric is "promise_" and this
  const char* title;  ///< a line of the matrix: at most 37 characters
  const char* unit;
};

/// Some promises that are tried together.
struct Probe {
  const char* name;
  std::vector<Promise> promises;
  Cells (*ask)(const Question& question);
  std::chrono::seconds patience{20};
  bool slow = false;  ///< only with --slow
};

struct Family {
  const char* title;
  const char* what_was_done;
  std::vector<Probe> probes;
};

// One a file.
[[nodiscard]] Family promises_of_calls();
[[nodiscard]] Family promises_of_signals();
[[nodiscard]] Family promises_of_life();
[[nodiscard]] Family promises_of_the_end();
[[nodiscard]] Family promises_of_memory();
[[nodiscard]] const std::vector<Family>& families();

// ---- cells --------------------------------------------------------------------------------------

[[nodiscard]] Cell yes(std::string word = "yes", std::string note = {});
[[nodiscard]] Cell no(std::string word = "no", std::string note = {});
[[nodiscard]] Cell number(double value, std::string note = {});
[[nodiscard]] Cell bytes(double value, std::string note = {});
[[nodiscard]] Cell none(std::string note, std::string word = "-");
[[nodiscard]] Cell no_trim();

// ---- stacks to try things on --------------------------------------------------------------------

inline constexpr std::size_t kib = 1024;
inline constexpr std::size_t mib = 1024 * kib;
inline constexpr std::size_t guard_bytes = 64 * kib;

/// Most probes: as deep as they go, and four times as much reserved (little enough to be locked by
/// anybody).
inline constexpr std::size_t depth = mib;
inline constexpr std::size_t reserve = 4 * depth;

/// Makes one after raising the soft limits in the way of its strategy: RLIMIT_STACK
/// (MAP_GROWSDOWN), RLIMIT_MEMLOCK.
[[nodiscard]] std::unique_ptr<AnyStack> make(const std::string& subject,
                                             std::size_t bytes = reserve);

/// On the running stack, which is `stack`: touches everything from here to `bytes` below its base,
/// and comes back.
void go_down(const AnyStack& stack, std::size_t bytes = depth);

/// Where things go wrong: the lowest committed address, or, where nobody keeps one, the middle of
/// the stack.
[[nodiscard]] std::uintptr_t edge(const AnyStack& stack);

// ---- the table ----------------------------------------------------------------------------------

/// Who was asked, and all the answers.
struct Answers {
  struct Column {
    std::string subject;
    bool is_strategy = false;
    std::string unsupported{};  ///< why there is nothing in it
    Cells cells{};

    [[nodiscard]] const Cell& cell(const std::string& promise) const { return cells.at(promise); }
    [[nodiscard]] bool keeps(const std::string& promise) const {
      return cell(promise).value == 1.0;
    }
  };
  std::vector<Column> columns;
};

/// Words of notes under a table, numbered as they come.
class Footnotes {
 public:
  /// The cell's word, and the mark of its note if there is one.
  [[nodiscard]] std::string marked(const Cell& cell);
  [[nodiscard]] const std::vector<std::string>& all() const noexcept { return notes_; }

 private:
  std::vector<std::string> notes_;
};

/// Which one to choose for what: sentences concluded from the cells.
[[nodiscard]] std::vector<std::string> advice(const Answers& answers);

/// The whole of it for people to read. `command` repeats it.
[[nodiscard]] std::string markdown(const Answers& answers, const std::string& command);

}  // namespace growstack::compare::promises
