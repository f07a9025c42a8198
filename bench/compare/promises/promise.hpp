// A promise of a stack is an experiment, which runs in a process of its own, and a cell of the
// table, which tells how the experiment ended. Nothing in the table is known beforehand.
//
// To add a promise, add one entry to the list at the end of its family's file, in the order of the
// members of Promise below, and its name to the list in check_promises.cpp. The families:
//
//     growth.cpp        growth under usual and unusual circumstances
//     system_calls.cpp  system calls into memory that nobody has touched
//     near_limit.cpp    signals, and libc functions that block them, near the limit
//     overflow.cpp      running past the end of a stack
//     memory.cpp        what a stack costs, and which limits of the process count for it
//
// Around them, worker.hpp runs the process that may die, ask.cpp asks every subject, and tables.cpp
// writes the tables.
#pragma once

#include "promises/worker.hpp"
#include "subjects/any_stack.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace growstack::compare::promises {

/// What an experiment is told.
struct Question {
  std::string subject;
  bool quick = false;
};

/// The answer of one subject to one promise.
struct Cell {
  std::optional<double> value{};  ///< 1 and 0 for yes and no; none if it could not be tried
  std::string word{};             ///< what the table shows: "yes", "EFAULT", "8 MiB"
  std::string note{};             ///< the footnote; empty for none
};

using CellMaker = std::function<Cell(const Fate& fate)>;

[[nodiscard]] Cell yes(std::string word = "yes", std::string note = {});
[[nodiscard]] Cell no(std::string word = "no", std::string note = {});
[[nodiscard]] Cell none(std::string note, std::string word = "-");
[[nodiscard]] Cell number(double value, std::string note = {});
[[nodiscard]] Cell bytes(double value, std::string note = {});
/// Returns the cell of a subject that has no trim.
[[nodiscard]] Cell no_trim();
/// Returns yes for a worker that survived; otherwise a cell that says how the worker ended.
[[nodiscard]] Cell survival(const Fate& fate);
/// Makes the cell of what the worker said, or by survival() if the worker did not survive.
[[nodiscard]] CellMaker if_survived(std::function<Cell(const nlohmann::json& said)> make);
/// Makes the cell of a number in what the worker said, with the member "note" if there is one.
/// Returns no_trim() if that number is missing.
[[nodiscard]] CellMaker figure(const char* name,
                               Cell (*make)(double value, std::string note) = number);

inline constexpr std::string_view yes_or_no = "1/0";
inline constexpr std::string_view deaths = "deaths";  ///< of a promise that is kept by 0

struct Promise {
  const char* name;      ///< the metric in the JSON is "promise_" and this
  const char* title;     ///< names its row, and in the notes its column; at most 37 characters
  const char* sentence;  ///< says in the notes what is tried, or what the cell counts
  /// Runs in a process of its own, and starts workers there. Promises that name the same function
  /// share one run of it.
  Fate (*experiment)(const Question& question);
  CellMaker cell = survival;          ///< makes the cell of how the experiment ended
  std::string_view unit = yes_or_no;  ///< of the cell's value
  bool slow = false;                  ///< runs only with --slow
};

struct Family {
  const char* title;
  const char* setting;  ///< what its experiments share
  std::vector<Promise> promises;
};

[[nodiscard]] Family promises_of_growth();
[[nodiscard]] Family promises_to_system_calls();
[[nodiscard]] Family promises_near_limit();
[[nodiscard]] Family promises_at_overflow();
[[nodiscard]] Family promises_of_memory();
/// Returns these families in the order of the table.
[[nodiscard]] const std::vector<Family>& families();
/// Returns the promises of all families.
[[nodiscard]] std::vector<const Promise*> all_promises();

// ---- what experiments are made of ---------------------------------------------------------------

inline constexpr std::size_t kib = 1024;
inline constexpr std::size_t mib = 1024 * kib;
inline constexpr std::size_t guard_bytes = 64 * kib;
/// How deep most experiments go. They reserve four times as much, which anybody may lock.
inline constexpr std::size_t depth = mib;

/// Makes a stack. First raises the soft limits that some strategies need: RLIMIT_STACK and
/// RLIMIT_MEMLOCK.
[[nodiscard]] std::unique_ptr<AnyStack> make(const std::string& subject,
                                             std::size_t reserve = 4 * depth);

/// Makes a stack in a worker, after before() if there is one, and runs body on it. The worker says
/// what body returns.
[[nodiscard]] Fate on_stack(const Question& question,
                            const std::function<nlohmann::json(AnyStack& stack)>& body,
                            void (*before)() = nullptr);

/// Touches everything between the caller's frame and `bytes` below the base of the running stack,
/// which is `stack`, and comes back.
void go_down(const AnyStack& stack, std::size_t bytes = depth);

/// Trims the stack. Returns false if the subject has no trim. Throws std::system_error.
bool trim(AnyStack& stack);

}  // namespace growstack::compare::promises
