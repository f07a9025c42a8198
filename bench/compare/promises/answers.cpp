#include "answers.hpp"

#include "table.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace growstack::compare::promises {
namespace {

/// Returns how many of the yes-or-no promises the subject keeps. A count of deaths is one of these
/// promises: nobody may die.
std::size_t kept(const Cells& cells) {
  std::size_t count = 0;
  for (const Family& family : families()) {
    for (const Promise& promise : family.promises) {
      const std::optional<double>& value = cells.at(promise.name).value;
      count += !promise.slow && ((promise.unit == yes_or_no && value == 1.0) ||
                                 (promise.unit == deaths && value == 0.0));
    }
  }
  return count;
}

/// Returns the names of the subjects for which `belongs` is true: "a, b and c".
template <class Belongs>
std::string names_where(const Answers& answers, const Belongs& belongs) {
  std::vector<std::string> names;
  for (const Column& column : answers) {
    if (belongs(column.cells)) {
      names.push_back(column.subject.name);
    }
  }
  return listed(names);
}

}  // namespace

std::string Footnotes::marked(const Cell& cell) {
  if (cell.note.empty()) {
    return cell.word;
  }
  const auto found = std::find(notes_.begin(), notes_.end(), cell.note);
  const auto index = found - notes_.begin();
  if (found == notes_.end()) {
    notes_.push_back(cell.note);
  }
  return fmt::format("{}[{}]", cell.word, index + 1);
}

std::vector<std::string> Footnotes::lines() const {
  std::vector<std::string> lines;
  for (const std::string& note : notes_) {
    lines.push_back(fmt::format("[{}] {}", lines.size() + 1, note));
  }
  return lines;
}

std::vector<std::string> summary(const Answers& answers) {
  std::size_t most = 0;
  for (const Column& column : answers) {
    most = std::max(most, kept(column.cells));
  }
  const std::string best =
      names_where(answers, [&](const Cells& cells) { return kept(cells) == most; });
  const std::string silent = names_where(
      answers, [](const Cells& cells) { return cells.at("overflow_detected").value == 0.0; });
  const std::string unbounded = names_where(answers, [](const Cells& cells) {
    const std::optional<double>& mappings = cells.at("vmas_each").value;
    return cells.at("overflow_detected").value == 1.0 && mappings && *mappings < 1;
  });
  return {fmt::format("The most yes-or-no promises, {}, are kept by {}.", most, best),
          silent.empty() ? ""
                         : fmt::format("An overflow writes below the floor, and nobody notices, on "
                                       "a stack of {}.",
                                       silent),
          unbounded.empty() ? ""
                            : fmt::format("Guarded stacks without a mapping for each, so that "
                                          "vm.max_map_count does not end them, come from {}.",
                                          unbounded)};
}

}  // namespace growstack::compare::promises
