#include "run/measurement.hpp"

#include <algorithm>
#include <functional>
#include <utility>

namespace growstack::compare {
namespace {

std::vector<Measurement>& registry() {
  static std::vector<Measurement> all;
  return all;
}

/// Returns a member, or a member of a member; null if there is none.
nlohmann::json member(const nlohmann::json& object, const std::string& path) {
  return object.is_object()
             ? object.value(nlohmann::json::json_pointer("/" + path), nlohmann::json())
             : nlohmann::json();
}

bool contains(const Outcomes& all, std::string_view name) {
  return std::any_of(all.begin(), all.end(),
                     [&](const Outcome& each) { return each.name == name; });
}

/// Asks about subjects that take turns, and about the base.
Answer ask_turns(const Measurement& self, const Session& session, std::vector<std::string> names) {
  if (!self.base.empty() && std::find(names.begin(), names.end(), self.base) == names.end()) {
    names.emplace_back(self.base);
  }
  return ask_child(
      self.name,
      {{"subjects", names}, {"rounds", session.rounds(self.rounds.full, self.rounds.quick)}},
      session.progress());
}

/// Adds the outcomes that an answer to ask_turns has, unless an earlier answer had them.
void add_outcomes(Outcomes& all, const nlohmann::json& answer,
                  const std::vector<Subject>& subjects) {
  for (const nlohmann::json& result : answer) {
    const std::string subject_name = result.at("subject");
    const auto subject = std::find_if(subjects.begin(), subjects.end(), [&](const Subject& each) {
      return each.name == subject_name;
    });
    const bool asked = subject != subjects.end();
    const std::string name = result.at("name");
    if (!contains(all, name)) {
      all.push_back({.subject = asked ? *subject : Subject{.name = subject_name},
                     .name = name,
                     .result = result,
                     .failure = result.value("refusal", ""),
                     .only_compared = !asked || name != subject_name});
    }
  }
}

using CellsOf = std::function<Cells(const Outcome& outcome)>;

/// Adds a line for each outcome that has a result: its name, and what `cells_of` returns. Leaves
/// out those for which that is empty. Writes the heading above the first line.
void add_lines(Table& table, const Outcomes& all, std::string heading, const CellsOf& cells_of) {
  for (const Outcome& outcome : all) {
    Cells cells = outcome.ok() ? cells_of(outcome) : Cells();
    if (cells.empty()) {
      continue;
    }
    if (!heading.empty()) {
      table.add_heading(std::exchange(heading, {}));
    }
    cells.insert(cells.begin(), "  " + outcome.name);
    table.add(std::move(cells));
  }
}

Table table_of(const Measurement& measurement, const Outcomes& all) {
  if (measurement.table != nullptr) {
    return measurement.table(all);
  }
  Cells titles{measurement.lines};
  for (const Column& column : measurement.columns) {
    titles.emplace_back(column.title);
  }
  Table table(titles);
  for (auto begin = all.begin(); begin != all.end();) {
    const auto end = std::find_if(
        begin, all.end(), [&](const Outcome& each) { return each.section != begin->section; });
    add_section(table, Outcomes(begin, end), begin->section, measurement.columns);
    begin = end;
  }
  return table;
}

}  // namespace

std::optional<double> Outcome::number(const std::string& path) const {
  const nlohmann::json found = member(result, path);
  return found.is_number() ? std::optional(found.get<double>()) : std::nullopt;
}

std::string Outcome::text(const std::string& path) const {
  const nlohmann::json found = member(result, path);
  return found.is_string() ? found.get<std::string>() : "";
}

std::string Outcome::cell(const std::string& path, std::string (*format)(double),
                          double unit) const {
  const auto figure = number(path);
  const std::string words = text(path);
  return figure ? format(*figure / unit) : words.empty() ? "-" : words;
}

Row Outcome::row(const std::string& metric, const std::optional<double>& value, const char* unit,
                 const std::string& note, const std::string& why_missing) const {
  return {.subject = subject.name,
          .metric = metric,
          .value = value,
          .unit = unit,
          .note = value   ? note
                  : !ok() ? failure
                          : why_missing};
}

Row Outcome::row(const std::string& metric, const char* path, const char* unit,
                 const std::string& note, const std::string& why_missing) const {
  return row(metric, number(path), unit, note, why_missing);
}

std::vector<Subject> all_strategies(const Session& session) { return session.strategies(); }

std::vector<Subject> stacks_and_split_stack(const Session& session) {
  std::vector<Subject> all = session.stacks();
  if (const auto split_stack = session.peer(split_stack_name)) {
    all.push_back(*split_stack);
  }
  return all;
}

Registered::Registered(const Measurement& measurement) { registry().push_back(measurement); }

const std::vector<Measurement>& measurements() { return registry(); }

void compare(const Measurement& measurement, Session& session) {
  if (measurement.compare_otherwise != nullptr) {
    measurement.compare_otherwise(session);
    return;
  }
  const std::vector<Subject> subjects = measurement.subjects(session);
  if (subjects.empty()) {
    return;
  }
  session.progress().say(measurement.name);
  const Outcomes all = measurement.ask(measurement, session, subjects);
  std::vector<std::string> remarks =
      measurement.remarks != nullptr ? measurement.remarks(all) : std::vector<std::string>();
  std::erase(remarks, "");
  for (const Outcome& outcome : all) {
    if (!outcome.ok()) {
      remarks.push_back(fmt::format("{}: {}.", outcome.name, outcome.failure));
    }
    if (!outcome.only_compared) {
      for (Row& row : measurement.rows(outcome, all)) {
        session.add(std::move(row));
      }
    }
  }
  session.print_title(measurement.title, measurement.what);
  session.print(table_of(measurement, all));
  if (!remarks.empty()) {
    session.print_sentences(remarks);
  }
}

Outcomes ask_together(const Measurement& self, const Session& session,
                      const std::vector<Subject>& subjects) {
  Outcomes all;
  std::vector<std::string> names;
  const auto add_failure = [&](const Subject& subject, const std::string& failure) {
    all.push_back({.subject = subject, .name = subject.name, .failure = failure});
  };
  for (const Subject& subject : subjects) {
    if (subject.unsupported.empty()) {
      names.push_back(subject.name);
    } else {
      add_failure(subject, subject.unsupported);
    }
  }
  const Answer together = ask_turns(self, session, names);
  if (together.failure.empty()) {
    add_outcomes(all, together.result, subjects);
    return all;
  }
  for (const Subject& subject : subjects) {
    if (!contains(all, subject.name)) {
      const Answer alone = ask_turns(self, session, {subject.name});
      if (alone.failure.empty()) {
        add_outcomes(all, alone.result, subjects);
      } else {
        add_failure(subject, alone.whole_failure());
      }
    }
  }
  return all;
}

Outcomes ask_each(const Measurement& self, const Session& session,
                  const std::vector<Subject>& subjects) {
  Outcomes all;
  for (const Subject& subject : subjects) {
    session.progress().say(fmt::format("{}: {}", self.name, subject.name));
    all.push_back(ask_one(self.name, session, subject, self.request(session, subject)));
  }
  return all;
}

Outcome ask_one(const char* task, const Session& session, const Subject& subject,
                const nlohmann::json& request) {
  const Answer answer = subject.unsupported.empty() ? ask_child(task, request, session.progress())
                                                    : Answer{.failure = subject.unsupported};
  return {.subject = subject,
          .name = subject.name,
          .request = request,
          .result = answer.result,
          .failure = answer.whole_failure()};
}

Outcome ask_program(const Session& session, const Subject& subject, const nlohmann::json& request) {
  return ask_one("program", session, subject,
                 {{"program", "growstack_" + subject.name}, {"request", request}});
}

const Outcome* find(const Outcomes& all, std::string_view name) {
  const auto found = std::find_if(
      all.begin(), all.end(), [&](const Outcome& each) { return each.ok() && each.name == name; });
  return found != all.end() ? &*found : nullptr;
}

void add_section(Table& table, const Outcomes& all, const std::string& heading,
                 std::span<const Column> columns, const std::string& prefix) {
  add_lines(table, all, heading, [&](const Outcome& its) {
    Cells cells;
    for (const Column& column : columns) {
      cells.push_back(its.cell(prefix + column.path, column.format, column.unit));
    }
    return cells;
  });
}

void add_section(Table& table, const Outcomes& all, const std::string& heading,
                 const std::vector<std::string>& paths, std::string (*format)(double),
                 double unit) {
  add_lines(table, all, heading, [&](const Outcome& its) {
    const bool any = std::any_of(paths.begin(), paths.end(), [&](const std::string& path) {
      return its.number(path).value_or(0) > 0;
    });
    Cells cells;
    for (const std::string& path : any ? paths : std::vector<std::string>()) {
      cells.push_back(its.cell(path, format, unit));
    }
    return cells;
  });
}

}  // namespace growstack::compare
