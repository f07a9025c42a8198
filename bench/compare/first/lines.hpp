// The shape of every measurement of the group first. A measurement is a list of lines. Each line is
// a figure, and most are compared with figures of other lines and have an aim. All lines of a
// measurement take turns in one child. calls.cpp is an example.
#pragma once

#include "run/measurement.hpp"
#include "run/timing.hpp"

#include <functional>
#include <string>
#include <vector>

namespace growstack::compare {

/// What a figure is compared with: a sum of the figures of other lines and of a number.
struct Beside {
  struct Part {
    std::string line;
    double times = 1;
  };
  std::vector<Part> parts{};
  double plus = 0;
};

/// One line of the table. `name` must be its only one in the measurement. `subject` is that of its
/// row in the JSON file.
struct Line : Timed {
  std::string section{};            ///< a heading, which names the unit
  std::string metric{};             ///< "call_ns". Its ratio is the metric "call_ratio"
  const char* unit = "ns";          ///< or "bytes", "ratio"
  std::function<Timing()> prepare;  ///< in the child
  /// How often it is done in a round; nothing: as often as takes two milliseconds. A figure that is
  /// no time must say so.
  Rounds fixed_times{};
  Beside beside{};     ///< nothing: it has no ratio
  double at_most = 0;  ///< the aim of the ratio; 0: none
  /// True: a sample is one run, and not the best of three, so that it contains what is done only
  /// now and then.
  bool with_rare_costs = false;
  /// True: the figures are those of the fastest tenths of the rounds, and not the medians. For
  /// threads: whenever something else has a processor, two threads share the other one.
  bool in_fastest_rounds = false;
  /// True: a difference means nothing unless it is larger than the interval of the ratio, too. For
  /// aims that ought to be reached exactly.
  bool mark_by_interval = false;
};

using Lines = std::vector<Line>;

/// Returns the lines of these strategies and of all peers. "automatic" is among the strategies.
using LinesOf = Lines (*)(const std::vector<std::string>& strategies);

/// Returns a line that is only compared with: a peer's, or a part of a sum.
[[nodiscard]] Line plain_line(std::string name, std::string_view subject, std::string section,
                              std::string metric, std::function<Timing()> prepare);
/// Returns a line that is meant to take at most so many times as long as `beside`.
[[nodiscard]] Line line_with_aim(Line plain, Beside beside, double at_most);

/// Chooses the strategies whose stacks grow by events and have pools.
[[nodiscard]] std::vector<Subject> grow_by_events(const Session& session);
/// Chooses them, and Strategy::automatic unless --only chooses others.
[[nodiscard]] std::vector<Subject> grow_by_events_and_automatic(const Session& session);
/// Chooses Strategy::automatic unless --only chooses others.
[[nodiscard]] std::vector<Subject> automatic_alone(const Session& session);

/// Asks one child about all lines. If that child dies, asks one about each strategy and the peers.
[[nodiscard]] Outcomes ask_lines(const Measurement& self, const Session& session,
                                 const std::vector<Subject>& subjects, LinesOf lines_of);
/// Measures, in a child. Answers {"name", "figure"} or {"name", "refusal"} for each line, with
/// "beside", "ratio" and "interval" (in words) if it is compared, "at_most" and "aim" (in words,
/// with its mark) if it has one, and "noise" if others are compared with it.
[[nodiscard]] nlohmann::json measure_lines(Lines lines, const nlohmann::json& request,
                                           Progress& progress);
/// Makes a line's rows: its figure, its ratio, its noise.
[[nodiscard]] std::vector<Row> rows_of_line(const Outcome& its, const Outcomes& all);
/// Says what the columns and marks mean that the table has.
[[nodiscard]] std::vector<std::string> remarks_on_lines(const Outcomes& all);
/// Returns the columns of a table that has a line for each.
[[nodiscard]] std::span<const Column> columns_of_lines();

/// Completes a measurement whose lines are `lines_of`.
template <LinesOf lines_of>
[[nodiscard]] Measurement measurement_of_lines(Measurement its) {
  its.ask = [](const Measurement& self, const Session& session,
               const std::vector<Subject>& subjects) {
    return ask_lines(self, session, subjects, lines_of);
  };
  its.measure = [](const nlohmann::json& request, Progress& progress) {
    return measure_lines(lines_of(request.at("subjects")), request, progress);
  };
  its.rows = rows_of_line;
  its.columns = columns_of_lines();
  its.remarks = remarks_on_lines;
  return its;
}

}  // namespace growstack::compare
