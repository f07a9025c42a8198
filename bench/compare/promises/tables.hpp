// What all subjects answered to all promises, and the two forms in which people read it.
#pragma once

#include "promises/promise.hpp"
#include "run/session.hpp"
#include "subjects/subject.hpp"

#include <map>
#include <string>
#include <vector>

namespace growstack::compare::promises {

/// What one subject answered.
struct Column {
  Subject subject;
  std::map<std::string, Cell> cells{};  ///< by the name of the promise
};

/// Prints the tables for a terminal, subjects side by side.
void print(Session& session, const std::vector<Column>& columns);

/// Returns the tables as Markdown, a line for each subject. `command` repeats the run.
[[nodiscard]] std::string markdown(const std::vector<Column>& columns, const std::string& command);

}  // namespace growstack::compare::promises
