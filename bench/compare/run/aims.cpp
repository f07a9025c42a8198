#include "run/aims.hpp"

#include "parts/samples.hpp"
#include "run/measurement.hpp"
#include "run/reports.hpp"

namespace growstack::compare {
namespace {

std::string in_digits(double figure) {
  return figure < 0.3 ? decimals<3>(figure) : decimals<2>(figure);
}

/// Returns the figure and a mark that says whether it reaches the aim; nothing if either is
/// missing.
std::string reached(const Aim& aim, const std::optional<double>& at_most, const char* subject,
                    const Rows& rows) {
  const auto figure = at_most ? aim.figure(rows, subject) : std::nullopt;
  if (!figure) {
    return {};
  }
  return fmt::format("{} {:1}", in_digits(*figure),
                     mark_of(*figure, *at_most, aim.noise ? aim.noise(rows) : 0));
}

}  // namespace

Reading value_of(const std::string& metric) {
  return [metric](const Rows& rows, const std::string& subject) {
    return rows.value(subject, metric);
  };
}

Reading ratio_to(const std::string& base_subject, const std::string& metric) {
  return [base_subject, metric](const Rows& rows, const std::string& subject) {
    return rows.ratio(subject, metric, base_subject, metric);
  };
}

Noise noise_in(const std::string& subject, const std::string& metric) {
  return [subject, metric](const Rows& rows) {
    const auto ratio = rows.value(subject, metric);
    return ratio ? bench::from_one(*ratio) : 0;
  };
}

void report_aims(Session& session) {
  const auto in_table = [](const std::optional<double>& at_most) {
    return at_most ? in_digits(*at_most) : "";
  };
  Table table({"at most", "aim", "in_handler", "guard_markers", "aim", "pipe_helper"});
  for (const Measurement& measurement : measurements()) {
    for (const Aim& aim : measurement.aims != nullptr ? measurement.aims() : std::vector<Aim>()) {
      const AtMost& most = aim.at_most;
      const auto& for_markers = most.handlers ? most.handlers : most.markers;
      const std::string handler = reached(aim, most.handlers, "in_handler", session.rows());
      const std::string markers = reached(aim, for_markers, "guard_markers", session.rows());
      const std::string helper = reached(aim, most.helper, "pipe_helper", session.rows());
      if (!(handler + markers + helper).empty()) {
        table.add(
            {aim.title, in_table(for_markers), handler, markers, in_table(most.helper), helper});
      }
    }
  }
  session.print_title("AIMS",
                      "What is meant to be reached on a machine that does nothing else, and what "
                      "was reached here. The group first prints its aims in its own tables.");
  session.print(table);
  session.print_sentences(
      {what_marks_mean, "The noise of \"one fault\" is how far its processes differ."});
}

}  // namespace growstack::compare
