// The hot split: what split stacks cost besides growth. bench/peers/split_stack measures it.
#include "run/measurement.hpp"

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
  return {{.metric = "hot_call_ns",
           .value = usual,
           .unit = "ns",
           .note = "a call in a loop, the median of depths some 50 bytes apart"},
          {.metric = "hot_call_worst_ns",
           .value = worst,
           .unit = "ns",
           .note = "the same at the worst depth: at the end of a piece of stack"},
          {.metric = "hot_call_worst_ratio",
           .value = usual && worst ? std::optional(*worst / *usual) : std::nullopt,
           .unit = "ratio",
           .note = "the worst depth to the median"},
          {.metric = "hot_call_share",
           .value = its.number("share"),
           .unit = "ratio",
           .note = "the part of the depths that takes more than three times the median"},
          {.metric = "hot_call_plain_ns",
           .value = its.number("plain_median_ns"),
           .unit = "ns",
           .note = "the same call without split stacks, the median"}};
}

Table table(const Outcomes& all) {
  Table table({"ns for a call", "usual depth", "worst depth", "% of depths that are slow",
               "without split stacks"});
  add_lines(table, all, "", [](const Outcome& its) -> Cells {
    return {its.cell("median_ns", decimals<1>), its.cell("worst_ns", grouped),
            its.cell("share", decimals<1>, 0.01), its.cell("plain_median_ns", decimals<1>)};
  });
  add_failures(table, all);
  return table;
}

std::string what() {
  return "A call in a loop, at depths some 50 bytes apart. Where the called function's frame does "
         "not fit on the piece of stack, each call gets another piece and gives it back (slow: "
         "more than three times the median).";
}

const Registered hot_call({.name = "hot_call",
                           .group = "growth",
                           .title = "THE HOT SPLIT",
                           .what = what,
                           .subjects = subjects,
                           .ask = ask,
                           .rows = rows,
                           .table = table});

}  // namespace
}  // namespace growstack::compare
