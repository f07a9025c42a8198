// One fault: what a single page of growth costs, in a burst and after a rest, above the floor of a bare handler.
#include "group.hpp"

#include "child.hpp"
#include "parts/bare_handler.hpp"
#include "parts/descent.hpp"
#include "parts/memory.hpp"
#include "parts/samples.hpp"

#include <growstack/growstack.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace growstack::compare {
namespace {

using namespace std::chrono_literals;

constexpr auto rest = 10ms;
constexpr std::size_t burst = 1024;                            // pages, one after the other
constexpr std::size_t reserve = std::size_t{6} * 1024 * 1024;  // more than these need, less than the usual RLIMIT_STACK

// ---- in the child ----

/// Every page is a fault.
constexpr GrowthPolicy page_by_page{.initial_commit = 1, .factor = 1.0, .least_step = 1, .largest_step = 1, .headroom = 0};

/// Times one touch each of so many pages.
using Measure = std::function<void(std::span<double> nanoseconds, std::chrono::nanoseconds idle)>;

void time_on_fresh_stack(Strategy strategy, std::span<double> nanoseconds, std::chrono::nanoseconds idle) {
  Stack stack({.reserve = reserve, .policy = page_by_page, .strategy = strategy, .name = "faults"});
  call(stack, [&] { bench::time_each_page(nanoseconds, idle); });
}

nlohmann::json measure(const Measure& time_pages, unsigned rests) {
  std::vector<double> in_burst(burst);
  time_pages(in_burst, 0ns);
  std::vector<double> cold(rests);
  time_pages(cold, rest);
  return {{"burst", in_burst}, {"cold", cold}, {"faults", handler::counters().growth}};
}

}  // namespace

/// {"subject", "rests"} to the times in nanoseconds.
nlohmann::json measure_faults(const nlohmann::json& request, Progress&) {
  const std::string name = request.at("subject");
  const unsigned rests = request.at("rests");
  bench::raise_stack_limit(reserve);
  bench::warm_memory(reserve);
  std::vector<double> once(1);
  bench::time_each_page(once, 1ns);  // so that no function's first call, which takes much stack, falls into the figures
  if (name == bare_handler_name) {
    const bench::BareHandler installed;
    return measure(bench::time_each_bare_fault, rests);
  }
  const Strategy strategy = strategy_named(name);
  return measure([strategy](std::span<double> nanoseconds,
                            std::chrono::nanoseconds idle) { time_on_fresh_stack(strategy, nanoseconds, idle); },
                 rests);
}

namespace {

// ---- in the parent ----

const std::vector<std::string> metrics{"fault_ns", "fault_least_ns", "fault_most_ns", "fault_cold_ns", "fault_floor_ns"};

/// One subject, from several processes: where the kernel places a helper thread differs from one to the next.
struct Finding {
  std::string name;
  std::string failure{};
  std::vector<double> burst{};
  std::vector<double> cold{};
  std::vector<double> medians{};  // of the bursts, one a process
  std::uint64_t faults = 0;

  [[nodiscard]] double in_burst() const { return bench::median(burst); }
  [[nodiscard]] double after_rest() const { return bench::median(cold); }
  [[nodiscard]] double least() const { return bench::percentile(medians, 0); }
  [[nodiscard]] double most() const { return bench::percentile(medians, 1); }
  [[nodiscard]] bool ok() const { return failure.empty(); }
  /// For strategies; a bare handler is not counted.
  [[nodiscard]] bool by_kernel() const { return faults == 0 && name != bare_handler_name; }

  void take(const Answer& answer) {
    if (!answer.failure.empty()) {
      failure = answer.whole_failure();
      return;
    }
    const auto some = answer.result.at("burst").get<std::vector<double>>();
    const auto rests = answer.result.at("cold").get<std::vector<double>>();
    burst.insert(burst.end(), some.begin(), some.end());
    cold.insert(cold.end(), rests.begin(), rests.end());
    medians.push_back(bench::median(some));
    faults += answer.result.at("faults").get<std::uint64_t>();
  }
};

/// All in turn, several times.
void measure_in_turn(Session& session, std::vector<Finding>& findings) {
  constexpr unsigned rounds_per_pass = 20;
  constexpr unsigned most_passes = 10;
  const unsigned rounds = session.rounds(200, 60);
  const unsigned passes = std::clamp(rounds / rounds_per_pass, 1U, most_passes);
  const unsigned rests = std::min(rounds, rounds_per_pass);
  for (unsigned pass = 0; pass < passes; ++pass) {
    for (Finding& finding : findings) {
      if (finding.ok()) {
        session.progress().say(fmt::format("one fault: {:<14}", finding.name), pass, passes);
        finding.take(ask_child("faults", {{"subject", finding.name}, {"rests", rests}}, session.progress()));
      }
    }
  }
}

void add_rows(Session& session, const Finding& finding, const Finding& floor) {
  if (!finding.ok()) {
    session.add_missing(finding.name, metrics, finding.failure);
    return;
  }
  const std::string note = finding.by_kernel() ? "the kernel's own page fault: no handler runs" : "";
  const auto add = [&](const char* metric, std::optional<double> value, const std::string& said) {
    session.add({.subject = finding.name, .metric = metric, .value = value, .unit = "ns", .note = said});
  };
  add("fault_ns", finding.in_burst(), note);
  add("fault_least_ns", finding.least(), "the least of the processes' medians");
  add("fault_most_ns", finding.most(), "the largest of the processes' medians");
  add("fault_cold_ns", finding.after_rest(), note);
  add("fault_floor_ns", floor.ok() ? std::optional(floor.in_burst()) : std::nullopt,
      floor.ok() ? "a SIGSEGV handler with nothing in it but mprotect, in a burst; the same for all" : floor.failure);
}

void add_to_table(Table& table, const Finding& finding, const Finding& floor) {
  if (!finding.ok()) {
    table.add_sentence({finding.name}, finding.failure);
    return;
  }
  const auto above_floor = [&](double value, double bare) { return floor.ok() ? fmt::format("{:.2f}", value / bare) : "-"; };
  table.add({finding.name, finding.by_kernel() ? "the kernel" : "a handler", grouped(finding.in_burst()),
             fmt::format("{} - {}", grouped(finding.least()), grouped(finding.most())),
             above_floor(finding.in_burst(), floor.in_burst()), grouped(finding.after_rest()),
             above_floor(finding.after_rest(), floor.after_rest())});
}

std::string sentence(const Finding& finding, const Finding& floor) {
  if (!finding.ok() || !floor.ok() || finding.by_kernel() || finding.name == floor.name) {
    return {};
  }
  return fmt::format(
      "A page of growth costs {} {:.1f} us in a burst, {:.2f} times what a bare handler takes, and {:.1f} us "
      "after a rest, {:.2f} times.",
      finding.name, finding.in_burst() / 1000, finding.in_burst() / floor.in_burst(), finding.after_rest() / 1000,
      finding.after_rest() / floor.after_rest());
}

}  // namespace

void compare_faults(Session& session) {
  const std::string bare(bare_handler_name);
  std::vector<Finding> findings;
  for (const Subject& subject : session.strategies()) {
    findings.push_back({.name = subject.name, .failure = subject.unsupported});
  }
  if (findings.empty() && !session.includes(bare)) {
    return;
  }
  findings.push_back({.name = bare});
  measure_in_turn(session, findings);
  const Finding& floor = findings.back();
  Table table({"ns for one page", "served by", "burst", "range of runs", "bare = 1", "after 10 ms", "bare = 1"}, 2);
  std::vector<std::string> sentences;
  for (const Finding& finding : findings) {
    add_rows(session, finding, floor);
    add_to_table(table, finding, floor);
    sentences.push_back(sentence(finding, floor));
  }
  session.print_title("ONE FAULT",
                      "One touch of one page, growing by one page a time: page after page, and with 10 ms of rest before "
                      "each. Medians, filling the page with zeros included; range: the medians of single processes. "
                      "bare_handler calls mprotect and nothing else.");
  session.print(table);
  session.print_sentences(sentences);
}

}  // namespace growstack::compare
