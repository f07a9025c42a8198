// The tables for a terminal.
#include "answers.hpp"

#include "table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <span>

namespace growstack::compare::promises {
namespace {

/// Breaks a name like "boost_pooled_fixedsize" into the lines of a narrow column.
std::string heading(std::string name) {
  constexpr std::size_t widest = 10;
  std::string lines;
  std::size_t column = 0;
  while (!name.empty()) {
    const std::string word =
        name.substr(0, name.find('_') == std::string::npos ? name.size() : name.find('_') + 1);
    name.erase(0, word.size());
    if (column != 0 && column + word.size() > widest) {
      lines += '\n';
      column = 0;
    }
    lines += word;
    column += word.size();
  }
  return lines;
}

void print_table(Session& session, std::span<const Column> columns) {
  std::vector<std::string> titles{"promise"};
  for (const Column& column : columns) {
    titles.push_back(heading(column.subject.name));
  }
  Table table(std::move(titles), 1);
  Footnotes footnotes;
  for (const Family& family : families()) {
    table.add_heading(family.title);
    for (const Promise& promise : family.promises) {
      std::vector<std::string> cells{std::string("  ") + promise.title};
      for (const Column& column : columns) {
        cells.push_back(footnotes.marked(column.cells.at(promise.name)));
      }
      table.add(std::move(cells));
    }
  }
  session.print(table);
  session.print_sentences(footnotes.lines());
}

/// Prints as many tables as the width of a terminal asks for.
void print_tables(Session& session, std::span<const Column> columns) {
  constexpr std::size_t columns_a_table = 5;
  const std::size_t tables = (columns.size() + columns_a_table - 1) / columns_a_table;
  for (std::size_t table = 0; table < tables; ++table) {
    const std::size_t from = columns.size() * table / tables;
    const std::size_t to = columns.size() * (table + 1) / tables;
    session.print_sentences({});
    print_table(session, columns.subspan(from, to - from));
  }
}

}  // namespace

void print(Session& session, const Answers& answers) {
  session.print_title("PROMISES",
                      "Each cell is the result of an experiment in a process of its own. The name "
                      "of a signal says that the process died of it.");
  for (const Family& family : families()) {
    session.print_sentences({fmt::format("{}. {}", family.title, family.setting)});
  }
  const auto first_peer = std::find_if(answers.begin(), answers.end(), [](const Column& column) {
    return !column.subject.strategy;
  });
  print_tables(session, {answers.begin(), first_peer});
  print_tables(session, {first_peer, answers.end()});
  session.print_sentences(summary(answers));
  session.print_sentences(
      {"notes/promises.md explains each row, and notes/which-strategy.md which "
       "strategy to choose."});
}

}  // namespace growstack::compare::promises
