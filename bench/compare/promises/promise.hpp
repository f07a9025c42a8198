// A promise of a stack: an experiment that runs in a process of its own, and a cell of the table
// that tells how the experiment ended. Nothing in the table is known beforehand.
//
// To add a promise, add one entry to the list at the end of its family's file, and its name to the
// list in check_promises.cpp. The entry names the experiment and the function that makes the cell.
// The families:
//
//     growth.cpp        growth under usual and unusual circumstances
//     system_calls.cpp  system calls into memory that nobody has touched
//     near_limit.cpp    signals, and libc functions that block them, near the limit
//     overflow.cpp      running past the end of a stack
//     memory.cpp        what a stack costs, and which limits of the process count for it
//
// Around them: worker.hpp is the process that may die, stacks.hpp makes the stack, ask.cpp asks
// every subject, print.cpp and notes.cpp write the tables.
#pragma once

#include "worker.hpp"

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace growstack::compare::promises {

/// The answer of one subject to one promise.
struct Cell {
  std::optional<double> value{};  ///< 1 and 0 for yes and no; none if it could not be tried
  std::string word{};             ///< what the table shows: "yes", "EFAULT", "8 MiB"
  std::string note{};             ///< the footnote; empty for none
};

[[nodiscard]] Cell yes(std::string word = "yes", std::string note = {});
[[nodiscard]] Cell no(std::string word = "no", std::string note = {});
[[nodiscard]] Cell none(std::string note, std::string word = "-");
[[nodiscard]] Cell number(double value, std::string note = {});
[[nodiscard]] Cell bytes(double value, std::string note = {});

/// The cell of a subject that has no trim.
[[nodiscard]] Cell no_trim();

/// Returns yes for a worker that survived; otherwise a cell that says how the worker ended.
[[nodiscard]] Cell survival(const Fate& fate);

using CellMaker = std::function<Cell(const Fate&)>;

/// Makes the cell from what the worker said, or by survival() if the worker did not survive.
[[nodiscard]] CellMaker if_survived(std::function<Cell(const nlohmann::json& said)> make);

/// What an experiment is told.
struct Question {
  std::string subject;
  bool quick = false;
};

inline constexpr std::string_view yes_or_no = "1/0";
inline constexpr std::string_view deaths = "deaths";  ///< a promise that is kept by 0

struct Promise {
  const char* name;      ///< the metric in the JSON is "promise_" and this
  const char* title;     ///< of the row or column of the table; at most 37 characters
  const char* sentence;  ///< explains to readers of the notes what was tried and what the cell says
  /// Runs in a process of its own, and starts workers there. Promises that name the same function
  /// share one run of it.
  Fate (*experiment)(const Question& question);
  CellMaker cell = survival;
  std::string_view unit = yes_or_no;
  bool slow = false;  ///< it runs only with --slow
};

struct Family {
  const char* title;
  const char* setting;  ///< what all of its experiments share
  std::vector<Promise> promises;
};

[[nodiscard]] Family promises_of_growth();
[[nodiscard]] Family promises_to_system_calls();
[[nodiscard]] Family promises_near_limit();
[[nodiscard]] Family promises_at_overflow();
[[nodiscard]] Family promises_of_memory();

/// Returns all families in the order of the table.
[[nodiscard]] const std::vector<Family>& families();

}  // namespace growstack::compare::promises
