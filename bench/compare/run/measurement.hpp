// The shape of every measurement. To add one, write a file that ends with
//
//     const Registered name({.name = "name", .group = "growth", ...});
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
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace growstack::compare {

/// One line of a measurement's table: a subject, and what a child found out about it.
struct Outcome {
  Subject subject{};
  std::string name{};          ///< of the line: the subject's name, unless it has several lines
  nlohmann::json request{};    ///< what the child was asked
  nlohmann::json result{};     ///< null if there is none
  std::string failure{};       ///< why there is no result; empty if there is one
  bool only_compared = false;  ///< measured because others are compared with it; has no rows

  [[nodiscard]] bool ok() const { return failure.empty(); }
  /// Returns a number of the result; nothing if it is missing. "far_down/ratio" is the member
  /// "ratio" of the member "far_down".
  [[nodiscard]] std::optional<double> number(const std::string& path) const;
  /// Returns a text of the result; empty if it is missing.
  [[nodiscard]] std::string text(const std::string& path) const;
  /// Returns the text of a table's cell for such a number, counted in `unit`.
  [[nodiscard]] std::string cell(const std::string& path, std::string (*format)(double),
                                 double unit = 1) const;
};

using Outcomes = std::vector<Outcome>;

/// Everything about a measurement. A null pointer stands for nothing.
struct Measurement {
  const char* name;   ///< the name of the child's task, and for the line of progress
  const char* group;  ///< --groups chooses it by this name
  const char* title = "";
  /// Returns what is measured, and how: the text below the title.
  std::string (*what)() = nullptr;
  /// Chooses who is compared.
  std::vector<Subject> (*subjects)(const Session& session) = nullptr;
  /// Asks children. This is ask_together, ask_each, or a function of the measurement's own.
  Outcomes (*ask)(const Measurement& self, const Session& session,
                  const std::vector<Subject>& subjects) = nullptr;
  /// Measures, in a child: answers what `ask` asked.
  nlohmann::json (*measure)(const nlohmann::json& request, Progress& progress) = nullptr;
  /// Makes the rows of an outcome for the JSON file. compare() fills in their subject, and gives
  /// rows without a value the failure of the outcome as their note.
  std::vector<Row> (*rows)(const Outcome& outcome, const Outcomes& all) = nullptr;
  Table (*table)(const Outcomes& all) = nullptr;
  /// Returns what a reader of the table must know besides.
  std::vector<std::string> (*remarks)(const Outcomes& all) = nullptr;
  std::vector<Aim> (*aims)() = nullptr;

  std::string_view base{};    ///< ask_together: the subject that the others are compared with
  unsigned rounds = 0;        ///< ask_together: how often each subject has a turn
  unsigned quick_rounds = 0;  ///< the same with --quick
  /// ask_each: Returns what a child is asked about a subject.
  nlohmann::json (*request)(const Session& session, const Subject& subject) = nullptr;

  /// Does all that the parent does; for a group that has its own shape (promises).
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

/// Asks one child about all subjects and the base: {"subjects": names, "rounds": n}. The answer is
/// an array; turns.hpp makes it. If that child dies, asks one child about each subject and the
/// base, so that only the subject is lost which kills its child.
[[nodiscard]] Outcomes ask_together(const Measurement& self, const Session& session,
                                    const std::vector<Subject>& subjects);

/// Asks one child for each subject what self.request() returns.
[[nodiscard]] Outcomes ask_each(const Measurement& self, const Session& session,
                                const std::vector<Subject>& subjects);

/// Asks a child about one subject, unless the subject does not work here.
[[nodiscard]] Outcome ask_one(const char* task, const Session& session, const Subject& subject,
                              const nlohmann::json& request);

/// Asks the program of a peer that is a program of its own, unless it was not built.
[[nodiscard]] Outcome ask_program(const Session& session, const Subject& subject,
                                  const nlohmann::json& request);

/// Returns the outcome of that name if it has a result, otherwise null.
[[nodiscard]] const Outcome* find(const Outcomes& all, std::string_view name);

/// Adds a line for each outcome that has a result: its name, and what `cells_of` returns. Leaves
/// out those for which that is empty. Writes the heading above the first line.
template <class CellsOf>
void add_lines(Table& table, const Outcomes& all, std::string heading, const CellsOf& cells_of) {
  const std::string indent = heading.empty() ? "" : "  ";
  for (const Outcome& outcome : all) {
    Cells cells = outcome.ok() ? cells_of(outcome) : Cells();
    if (cells.empty()) {
      continue;
    }
    if (!heading.empty()) {
      table.add_heading(std::exchange(heading, {}));
    }
    cells.insert(cells.begin(), indent + outcome.name);
    table.add(std::move(cells));
  }
}

/// Adds a line for each outcome that has no result: its name, and why.
void add_failures(Table& table, const Outcomes& all);

/// Returns why grows_down died, if it did; empty otherwise.
[[nodiscard]] std::string why_they_died(const Outcomes& all);

/// Returns what the ratios of a measurement mean at least: how far the base differs from itself.
[[nodiscard]] std::string noise_sentence(std::string_view base, double ratio);

}  // namespace growstack::compare
