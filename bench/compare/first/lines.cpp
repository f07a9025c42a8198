// The parent's side.
#include "first/lines.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace growstack::compare {
namespace {

const std::string automatic_name = "automatic";

Subject automatic() { return {.name = automatic_name, .strategy = Strategy::automatic}; }

// ---- in the parent ------------------------------------------------------------------------------

std::vector<std::string> names_of(const std::vector<Subject>& subjects) {
  std::vector<std::string> names;
  for (const Subject& each : subjects) {
    names.push_back(each.name);
  }
  return names;
}

Answer ask_about(const Measurement& self, const Session& session,
                 const std::vector<std::string>& strategies) {
  return ask_child(self.name,
                   {{"subjects", strategies},
                    {"rounds", session.rounds(self.rounds.full, self.rounds.quick)},
                    {"quick", session.options().quick}},
                   session.progress());
}

/// Takes over what an answer tells about lines that have no result yet.
void take_over(Outcomes& all, const Answer& answer) {
  for (Outcome& outcome : all) {
    const auto& results = answer.result;
    const auto found = std::find_if(results.begin(), results.end(), [&](const auto& result) {
      return result.at("name") == outcome.name;
    });
    if (outcome.result.is_null() && found != results.end()) {
      outcome.failure = found->value("refusal", "");
      outcome.result = *found;
    }
  }
}

/// Returns one outcome for each line, as yet without a result. Its request keeps what makes rows.
Outcomes outcomes_of(const Lines& lines, const Session& session,
                     const std::vector<Subject>& subjects) {
  Outcomes all;
  for (const Line& line : lines) {
    const auto subject = std::find_if(subjects.begin(), subjects.end(), [&](const Subject& each) {
      return each.name == line.subject;
    });
    const bool asked = subject != subjects.end();
    all.push_back({.subject = asked ? *subject : Subject{.name = line.subject},
                   .name = line.name,
                   .request = {{"metric", line.metric}, {"unit", line.unit}},
                   .failure = asked && !subject->unsupported.empty() ? subject->unsupported
                                                                     : "its child gave no answer",
                   .section = line.section,
                   .only_compared = !asked && !session.includes(line.subject)});
  }
  return all;
}

std::string with_ending(std::string metric, const std::string& ending) {
  const std::size_t at = metric.find("_ns");
  return at == std::string::npos ? metric + ending : metric.replace(at, 3, ending);
}

}  // namespace

std::vector<Subject> grow_by_events(const Session& session) {
  return session.strategies([](const StrategyDescription& each) {
    return each.pools() && each.event != GrowthEvent::none;
  });
}

std::vector<Subject> grow_by_events_and_automatic(const Session& session) {
  std::vector<Subject> all = grow_by_events(session);
  for (const Subject& each : automatic_alone(session)) {
    all.push_back(each);
  }
  return all;
}

std::vector<Subject> automatic_alone(const Session& session) {
  return session.includes(automatic_name) ? std::vector{automatic()} : std::vector<Subject>();
}

Outcomes ask_lines(const Measurement& self, const Session& session,
                   const std::vector<Subject>& subjects, LinesOf lines_of) {
  std::vector<Subject> able = subjects;
  std::erase_if(able, [](const Subject& each) { return !each.unsupported.empty(); });
  Outcomes all = outcomes_of(lines_of(names_of(subjects)), session, subjects);
  const Answer together = ask_about(self, session, names_of(able));
  take_over(all, together);
  for (std::size_t each = 0; !together.failure.empty() && each < able.size(); ++each) {
    const Answer alone = ask_about(self, session, {able[each].name});
    take_over(all, alone);
    for (Outcome& outcome : all) {
      if (!alone.failure.empty() && outcome.subject.name == able[each].name) {
        outcome.failure = alone.whole_failure();
      }
    }
  }
  return all;
}

std::vector<Row> rows_of_line(const Outcome& its, const Outcomes&) {
  const std::string metric = its.request.at("metric");
  const std::string unit = its.request.at("unit");
  std::vector<Row> rows{its.row(metric, "figure", unit.c_str(), its.name)};
  if (its.number("ratio") && unit == "ns") {
    rows.push_back(its.row(with_ending(metric, "_ratio"), "ratio", "ratio",
                           its.number("at_most")
                               ? fmt::format("meant to be at most {}", *its.number("at_most"))
                               : ""));
  }
  if (its.number("noise")) {
    rows.push_back(
        its.row(with_ending(metric, "_noise"), "noise", "ratio", "the same measured twice"));
  }
  return rows;
}

std::vector<std::string> remarks_on_lines(const Outcomes& all) {
  const auto any_has = [&](const char* figure) {
    return std::any_of(all.begin(), all.end(),
                       [figure](const Outcome& each) { return each.ok() && each.number(figure); });
  };
  return {any_has("ratio") ? "ratio: the median of the ratios of all rounds, not the quotient of "
                             "the two figures, unless the text above says otherwise."
                           : "",
          any_has("noise") ? "again: the same thing measured a second time, as a ratio. Smaller "
                             "differences mean nothing."
                           : "",
          any_has("at_most") ? what_marks_mean : ""};
}

std::span<const Column> columns_of_lines() {
  static constexpr std::array columns{
      Column{"figure", "figure", short_number}, Column{"beside it", "beside", short_number},
      Column{"ratio", "ratio", short_number}, Column{"at most", "aim", short_number},
      Column{"again", "noise", short_number}};
  return columns;
}

}  // namespace growstack::compare
