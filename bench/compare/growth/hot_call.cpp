// The hot split: what split stacks cost besides growth. bench/peers/split_stack measures it.
#include "run/measurement.hpp"

#include <array>

namespace growstack::compare {
namespace {

std::vector<Subject> subjects(const Session& session) {
  const auto peer = session.peer(split_stack_name);
  return peer ? std::vector{*peer} : std::vector<Subject>();
}

Outcomes ask(const Measurement&, const Session& session, const std::vector<Subject>& subjects) {
  return {ask_program(session, subjects.front(), {{"task", "hot_call"}})};
}

std::vector<Row> rows(const Outcome& its, const Outcomes&) {
  const auto usual = its.number("median_ns");
  const auto worst = its.number("worst_ns");
  return {its.row("hot_call_ns", usual, "ns",
                  "a call in a loop, the median of depths some 50 bytes apart"),
          its.row("hot_call_worst_ns", worst, "ns",
                  "the same at the worst depth: at the end of a piece of stack"),
          its.row("hot_call_worst_ratio", usual && worst ? std::optional(*worst / *usual) : usual,
                  "ratio", "the worst depth to the median"),
          its.row("hot_call_share", "share", "ratio",
                  "how many of the depths take more than three times the median"),
          its.row("hot_call_plain_ns", "plain_median_ns", "ns",
                  "the same call without split stacks, the median")};
}

constexpr std::array columns{Column{"usual depth", "median_ns", decimals<1>},
                             Column{"worst depth", "worst_ns", grouped},
                             Column{"% of depths that are slow", "share", decimals<1>, 0.01},
                             Column{"without split stacks", "plain_median_ns", decimals<1>}};

const Registered registered(
    {.name = "hot_call",
     .group = "growth",
     .title = "THE HOT SPLIT",
     .what = "A call in a loop, at depths some 50 bytes apart. Where the frame of the called "
             "function does not fit on the piece of stack, each call gets another piece and gives "
             "it back. slow: more than three times the median.",
     .subjects = subjects,
     .ask = ask,
     .rows = rows,
     .lines = "ns for a call",
     .columns = columns});

}  // namespace
}  // namespace growstack::compare
