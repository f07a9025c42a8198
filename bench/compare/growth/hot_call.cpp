// The hot split: what split stacks cost beyond growing. bench/peers/split_stack/ measures, this
// asks and reports.
#include "run/group.hpp"

#include "parts/neighbour.hpp"
#include "run/child.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

namespace growstack::compare {
namespace {

const std::vector<std::string> metrics{"hot_call_ns", "hot_call_worst_ns", "hot_call_worst_ratio",
                                       "hot_call_share", "hot_call_plain_ns"};

}  // namespace

/// Any request of growstack_split_stack; the child becomes that program.
nlohmann::json ask_split_stack(const nlohmann::json& request, Progress&) {
  bench::become_neighbour("growstack_split_stack", request);
}

void compare_hot_call(Session& session) {
  const std::string name(split_stack_name);
  const auto subject = session.peer(name);
  if (!subject) {
    return;
  }
  const Answer answer = subject->unsupported.empty()
                            ? ask_child("split_stack", {{"task", "hot_call"}}, session.progress())
                            : Answer{.failure = subject->unsupported};
  if (!answer.failure.empty()) {
    session.add_missing(name, metrics, answer.whole_failure());
    return;
  }
  const double usual = answer.result.at("median_ns");
  const double worst = answer.result.at("worst_ns");
  const double share = answer.result.at("share");
  const double plain = answer.result.at("plain_median_ns");
  const auto add = [&](const char* metric, double value, const char* unit, const char* note) {
    session.add({.subject = name, .metric = metric, .value = value, .unit = unit, .note = note});
  };
  add("hot_call_ns", usual, "ns", "a call in a loop, the median of depths some 50 bytes apart");
  add("hot_call_worst_ns", worst, "ns",
      "the same at the worst depth: at the end of a piece of stack");
  add("hot_call_worst_ratio", worst / usual, "ratio", "the worst depth to the median");
  add("hot_call_share", share, "ratio",
      "how many of the depths take more than three times the median");
  add("hot_call_plain_ns", plain, "ns", "the same call without split stacks, the median");
  session.print_sentences(
      {fmt::format("{} has the hot split: a call in a loop takes {:.1f} ns ({:.1f} without split "
                   "stacks), but {} ns, {:.0f} "
                   "times as long, "
                   "at the {:.1f} % of depths where its frame does not fit on the piece of stack.",
                   name, usual, plain, grouped(worst), worst / usual, 100 * share)});
}

}  // namespace growstack::compare
