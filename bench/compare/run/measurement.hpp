// The shape of every measurement. To add one, write a file that ends with
//
//     const Registered registered({.name = "name", .group = "growth", ...});
//
// and list that file in CMakeLists.txt. growth/fault_mappings.cpp is a short example.
//
// The parent chooses the subjects, and asks children about them (child.hpp). A child measures, and
// answers with a result for each subject. From these outcomes the parent makes the rows of the JSON
// file, the table, and remarks below it.
#pragma once

#include "run/aims.hpp"
#include "run/child.hpp"
#include "run/session.hpp"

#include <nlohmann/json.hpp>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace growstack::compare {

/// One line of a measurement's table: a subject, and what a child found out about it.
struct Outcome {
  Subject subject{};
  std::string name{};          ///< of the line: the subject's name, unless it has several lines
  nlohmann::json request{};    ///< what the child was asked
  nlohmann::json result{};     ///< null if there is none
  std::string failure{};       ///< why there is no result; empty if there is one
  std::string section{};       ///< a heading above the lines that have the same one
  bool only_compared = false;  ///< measured because others are compared with it; has no rows

  [[nodiscard]] bool ok() const { return failure.empty(); }
  /// Returns a number of the result; nothing if it is missing. "far_down/ratio" is the member
  /// "ratio" of the member "far_down".
  [[nodiscard]] std::optional<double> number(const std::string& path) const;
  /// Returns a text of the result; empty if it is missing.
  [[nodiscard]] std::string text(const std::string& path) const;
  /// Returns a table's cell: such a number, counted in `unit`, or such a text; "-" if it is
  /// missing.
  [[nodiscard]] std::string cell(const std::string& path, std::string (*format)(double),
                                 double unit = 1) const;

  /// Returns a row for the JSON file. Its note is the failure or `why_missing` if it has no value.
  [[nodiscard]] Row row(const std::string& metric, const std::optional<double>& value,
                        const char* unit, const std::string& note,
                        const std::string& why_missing = "it has no such figure") const;
  /// Returns such a row for a number of the result.
  [[nodiscard]] Row row(const std::string& metric, const char* path, const char* unit,
                        const std::string& note,
                        const std::string& why_missing = "it has no such figure") const;
};

using Outcomes = std::vector<Outcome>;

/// A column of a table that has a line for each outcome.
struct Column {
  const char* title;
  const char* path;  ///< of a number or text in the result
  std::string (*format)(double) = nullptr;
  double unit = 1;
};

/// How often to measure, and how often with --quick.
struct Rounds {
  unsigned full = 0;
  unsigned quick = 0;
};

struct Measurement;

/// Asks one child about all subjects and the base: {"subjects": names, "rounds": n}. The answer is
/// an array; turns.hpp makes it. If that child dies, asks one child about each subject and the
/// base: then only the subject that kills its child is lost.
[[nodiscard]] Outcomes ask_together(const Measurement& self, const Session& session,
                                    const std::vector<Subject>& subjects);

/// Asks one child for each subject what self.request() returns.
[[nodiscard]] Outcomes ask_each(const Measurement& self, const Session& session,
                                const std::vector<Subject>& subjects);

/// Chooses all strategies.
[[nodiscard]] std::vector<Subject> all_strategies(const Session& session);
/// Chooses all strategies and peers that make stacks, and split_stack.
[[nodiscard]] std::vector<Subject> stacks_and_split_stack(const Session& session);

/// Everything about a measurement.
struct Measurement {
  const char* name;        ///< of the child's task, and for the line of progress
  const char* group;       ///< --groups chooses it by this name
  const char* title = "";  ///< of the table
  const char* what = "";   ///< what is measured, and how: the text below the title
  /// Chooses who is compared.
  std::vector<Subject> (*subjects)(const Session& session) = all_strategies;
  /// Asks children. This is ask_together, ask_each, or a function of the measurement's own.
  Outcomes (*ask)(const Measurement& self, const Session& session,
                  const std::vector<Subject>& subjects) = ask_together;
  std::string_view base{};  ///< ask_together: the subject that the others are compared with
  Rounds rounds{};          ///< ask_together: how often each subject has a turn
  /// ask_each: Returns what a child is asked about a subject.
  nlohmann::json (*request)(const Session& session, const Subject& subject) = nullptr;
  /// Measures, in a child: answers what `ask` asked.
  nlohmann::json (*measure)(const nlohmann::json& request, Progress& progress) = nullptr;
  /// Makes the rows of an outcome for the JSON file.
  std::vector<Row> (*rows)(const Outcome& outcome, const Outcomes& all) = nullptr;
  const char* lines = "";             ///< the title of the column with the names
  std::span<const Column> columns{};  ///< the other columns
  /// Makes the table. If it is null, there is one line for each outcome, of `lines` and `columns`.
  Table (*table)(const Outcomes& all) = nullptr;
  /// Returns what a reader of the table must know besides. If it is null, that is nothing.
  std::vector<std::string> (*remarks)(const Outcomes& all) = nullptr;
  /// Returns what is meant to be reached. If it is null, that is nothing.
  std::vector<Aim> (*aims)() = nullptr;
  /// Does all that the parent does. It is null unless a group needs a shape of its own (promises).
  void (*compare_otherwise)(Session& session) = nullptr;
};

/// Makes a measurement known. The file of a measurement defines one such object.
struct Registered {
  explicit Registered(const Measurement& measurement);
};

/// Returns all measurements, in the order in which CMakeLists.txt lists their files.
[[nodiscard]] const std::vector<Measurement>& measurements();

/// Does all that the parent does for a measurement.
void compare(const Measurement& measurement, Session& session);

/// Asks a child about one subject, unless the subject does not work here.
[[nodiscard]] Outcome ask_one(const char* task, const Session& session, const Subject& subject,
                              const nlohmann::json& request);

/// Asks the program of a peer that is a program of its own, unless it was not built.
[[nodiscard]] Outcome ask_program(const Session& session, const Subject& subject,
                                  const nlohmann::json& request);

/// Returns the outcome of that name if it has a result, otherwise null.
[[nodiscard]] const Outcome* find(const Outcomes& all, std::string_view name);

/// Adds a section with a line for each outcome that has a result. `prefix` is put before the paths
/// of the columns.
void add_section(Table& table, const Outcomes& all, const std::string& heading,
                 std::span<const Column> columns, const std::string& prefix = "");

/// Adds a section with a line of these numbers, counted in `unit`, for each outcome that has one of
/// them above 0.
void add_section(Table& table, const Outcomes& all, const std::string& heading,
                 const std::vector<std::string>& paths, std::string (*format)(double),
                 double unit = 1);

}  // namespace growstack::compare
