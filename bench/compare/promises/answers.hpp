// What all subjects answered to all promises, and the forms in which people read it.
#pragma once

#include "promise.hpp"
#include "session.hpp"
#include "subject.hpp"

#include <map>
#include <string>
#include <vector>

namespace growstack::compare::promises {

/// Cells by the name of the promise.
using Cells = std::map<std::string, Cell>;

/// What one subject answered.
struct Column {
  Subject subject;
  Cells cells{};
};

using Answers = std::vector<Column>;

/// Collects the notes of the cells of one table, and numbers them as they come.
class Footnotes {
 public:
  /// Returns the word of the cell, and the number of its note if it has one.
  [[nodiscard]] std::string marked(const Cell& cell);
  /// Returns "[1] ..." and so on.
  [[nodiscard]] std::vector<std::string> lines() const;

 private:
  std::vector<std::string> notes_;
};

/// Says in a few sentences what the table shows.
[[nodiscard]] std::vector<std::string> summary(const Answers& answers);

/// Prints the tables for a terminal, subjects side by side.
void print(Session& session, const Answers& answers);

/// Returns the tables as Markdown, a line for each subject. `command` repeats the run.
[[nodiscard]] std::string markdown(const Answers& answers, const std::string& command);

}  // namespace growstack::compare::promises
