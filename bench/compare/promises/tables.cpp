#include "promises/tables.hpp"

#include "parts/memory.hpp"
#include "run/table.hpp"

#include <fmt/format.h>

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <span>

namespace growstack::compare::promises {
namespace {

/// Returns the word of the cell, with the number of its note if it has one. `notes` collects the
/// notes of a table.
std::string marked(const Cell& cell, std::vector<std::string>& notes) {
  if (cell.note.empty()) {
    return cell.word;
  }
  auto found = std::find(notes.begin(), notes.end(), cell.note);
  if (found == notes.end()) {
    found = notes.insert(found, cell.note);
  }
  return fmt::format("{}[{}]", cell.word, found - notes.begin() + 1);
}

/// Returns "[1] ..." and so on.
std::vector<std::string> numbered(std::vector<std::string> notes) {
  std::size_t number = 0;
  for (std::string& note : notes) {
    note = fmt::format("[{}] {}", ++number, note);
  }
  return notes;
}

// ---- for a terminal -----------------------------------------------------------------------------

bool is_yes_or_no(const Promise& promise) {
  return !promise.slow && (promise.unit == yes_or_no || promise.unit == deaths);
}

bool is_kept(const Promise& promise, const Cell& cell) {
  return is_yes_or_no(promise) && cell.value == (promise.unit == deaths ? 0.0 : 1.0);
}

constexpr std::size_t width_of_titles = 39;

/// Returns the characters that a column takes in a table.
std::size_t width_of(const Column& column) {
  constexpr std::size_t widest_cell = 11;  // "written[10]"
  constexpr std::size_t gap = 2;
  return gap + std::max(widest_cell, column.subject.name.size());
}

void print_table(Session& session, std::span<const Column> columns) {
  std::vector<std::string> titles{"promise"};
  for (const Column& column : columns) {
    titles.push_back(column.subject.name);
  }
  Table table(std::move(titles));
  std::vector<std::string> notes;
  for (const Family& family : families()) {
    table.add_heading(family.title);
    for (const Promise& promise : family.promises) {
      std::vector<std::string> cells{std::string("  ") + promise.title};
      for (const Column& column : columns) {
        cells.push_back(marked(column.cells.at(promise.name), notes));
      }
      table.add(std::move(cells));
    }
  }
  const std::vector<const Promise*> all = all_promises();
  std::vector<std::string> sums{
      fmt::format("yes-or-no promises kept, of {}",
                  std::count_if(all.begin(), all.end(),
                                [](const Promise* each) { return is_yes_or_no(*each); }))};
  for (const Column& column : columns) {
    sums.push_back(std::to_string(std::count_if(all.begin(), all.end(), [&](const Promise* each) {
      return is_kept(*each, column.cells.at(each->name));
    })));
  }
  table.add(std::move(sums));
  session.print_sentences({});
  session.print(table);
  session.print_sentences(numbered(notes));
}

// ---- as Markdown --------------------------------------------------------------------------------

std::string kernel() {
  utsname names{};
  require(uname(&names) == 0, "uname");
  const std::string release(names.release);
  return release.substr(0, release.find('-'));  // the rest is the distributor's
}

std::string line(const std::vector<std::string>& cells) {
  return fmt::format("| {} |\n", fmt::join(cells, " | "));
}

/// Returns what each promise of the family says, and the table. Subjects are lines here, because
/// there are more of them than fit beside each other.
std::string section(const Family& family, const std::vector<Column>& columns) {
  std::string text = fmt::format("\n## {}\n\n{}\n\n", family.title, folded(family.setting));
  std::vector<std::string> titles{""};
  for (const Promise& promise : family.promises) {
    text += folded(fmt::format("- *{}*: {}", promise.title, promise.sentence), 2) + "\n";
    titles.emplace_back(promise.title);
  }
  text += "\n" + line(titles) + line(std::vector<std::string>(titles.size(), "---"));
  std::vector<std::string> notes;
  for (const Column& column : columns) {
    std::vector<std::string> cells{"`" + column.subject.name + "`"};
    for (const Promise& promise : family.promises) {
      cells.push_back(marked(column.cells.at(promise.name), notes));
    }
    text += line(cells);
  }
  for (const std::string& note : numbered(notes)) {
    text += "\n" + folded(note) + "\n";
  }
  return text;
}

}  // namespace

void print(Session& session, const std::vector<Column>& columns) {
  session.print_title("PROMISES",
                      "Each cell is the result of an experiment in a process of its own. The name "
                      "of a signal says that the process died of it.");
  for (const Family& family : families()) {
    session.print_sentences({fmt::format("{}. {}", family.title, family.setting)});
  }
  for (std::size_t from = 0, to = 0; from < columns.size(); from = to) {
    std::size_t width = width_of_titles;
    do {
      width += width_of(columns[to++]);
    } while (to < columns.size() && width + width_of(columns[to]) <= text_width);
    print_table(session, std::span(columns).subspan(from, to - from));
  }
  session.print_sentences({"notes/promises.md explains each row."});
}

std::string markdown(const std::vector<Column>& columns, const std::string& command) {
  const std::string introduction = fmt::format(
      "This page shows which promises each kind of stack keeps: the stacks of growstack's "
      "strategies, of glibc's threads, and of Boost.Context. Each cell is the result of an "
      "experiment that ran in a process of its own, on Linux {}, {} CPUs, huge pages: {}, {}. The "
      "name of a signal says that the process died of it. A dash says that the experiment could "
      "not be made. A number in brackets refers to a note below the table. "
      "[Which strategy when](which-strategy.md) turns the tables into advice. A program ran the "
      "experiments and wrote this page. Do not edit the page; repeat the run:",
      kernel(), sysconf(_SC_NPROCESSORS_ONLN), bench::huge_pages(),
      geteuid() == 0 ? "as root" : "not as root");
  std::string text = fmt::format("# Promises\n\n{}\n\n    {}\n", folded(introduction), command);
  for (const Family& family : families()) {
    text += section(family, columns);
  }
  return text;
}

}  // namespace growstack::compare::promises
