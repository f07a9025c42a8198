// One fault: what a single page of growth costs, in a burst and after a rest, above the floor of a
// bare handler.
#include "run/group.hpp"

#include "parts/bare_handler.hpp"
#include "parts/descent.hpp"
#include "parts/memory.hpp"
#include "parts/neighbour.hpp"
#include "parts/samples.hpp"
#include "run/child.hpp"

#include <growstack/growstack.hpp>

#include <fmt/format.h>

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <system_error>

namespace growstack::compare {
namespace {

using namespace std::chrono_literals;

constexpr auto rest = 10ms;
constexpr std::size_t burst = 1024;  // pages, one after the other
constexpr std::size_t reserve =
    std::size_t{6} * 1024 * 1024;  // more than these need, less than the usual RLIMIT_STACK

// ---- in the child -------------------------------------------------------------------------------

double kernel_faults() {
  rusage used{};
  if (getrusage(RUSAGE_THREAD, &used) != 0) {
    throw std::system_error(errno, std::generic_category(), "getrusage");
  }
  return static_cast<double>(used.ru_minflt);
}

/// Touches so many pages of a fresh stack. Who served them: we, or the kernel alone, or nobody if
/// they were there.
nlohmann::json time_on_fresh_stack(Strategy strategy, std::size_t pages,
                                   std::chrono::nanoseconds idle) {
  Stack stack(
      {.reserve = reserve, .policy = bench::page_by_page, .strategy = strategy, .name = "faults"});
  std::vector<double> nanoseconds(pages);
  double faults = 0;
  call(stack, [&] {
    faults = -kernel_faults();
    bench::time_each_page(nanoseconds, idle);
    faults += kernel_faults();
  });
  return {{"ns", nanoseconds}, {"ours", stack.counters().growth_faults}, {"kernel", faults}};
}

nlohmann::json time_bare_faults(std::size_t pages, std::chrono::nanoseconds idle) {
  std::vector<double> nanoseconds(pages);
  bench::time_each_bare_fault(nanoseconds, idle);
  return {{"ns", nanoseconds}, {"ours", pages}, {"kernel", pages}};
}

/// Touches each of so many pages once: {"ns", "ours", "kernel"}.
using Measure = std::function<nlohmann::json(std::size_t pages, std::chrono::nanoseconds idle)>;

nlohmann::json measure(const Measure& time_pages, unsigned rests) {
  const nlohmann::json in_burst = time_pages(burst, 0ns);
  return {{"burst", in_burst.at("ns")},
          {"ours", in_burst.at("ours")},
          {"kernel", in_burst.at("kernel")},
          {"cold", time_pages(rests, rest).at("ns")}};
}

}  // namespace

/// {"subject", "rests"} to the times in nanoseconds, and who served the burst.
nlohmann::json measure_faults(const nlohmann::json& request, Progress&) {
  const std::string name = request.at("subject");
  const unsigned rests = request.at("rests");
  raise_limits_for_stacks(reserve);
  bench::warm_memory(reserve);
  std::vector<double> once(1);
  bench::time_each_page(
      once,
      1ns);  // so that no function's first call, which takes much stack, falls into the figures
  if (name == bare_handler_name) {
    const bench::BareHandler installed;
    return measure(time_bare_faults, rests);
  }
  const Strategy strategy = strategy_named(name);
  return measure(
      [strategy](std::size_t pages, std::chrono::nanoseconds idle) {
        return time_on_fresh_stack(strategy, pages, idle);
      },
      rests);
}

/// {"burst", "rests", "rest_ns"}, answered by growstack_libsigsegv; the child becomes that program.
nlohmann::json ask_libsigsegv(const nlohmann::json& request, Progress&) {
  bench::become_neighbour("growstack_libsigsegv", request);
}

namespace {

// ---- in the parent ------------------------------------------------------------------------------

const std::vector<std::string> metrics{"fault_ns", "fault_least_ns", "fault_most_ns",
                                       "fault_cold_ns", "fault_floor_ns"};

/// One subject, from several processes: where the kernel places a helper thread differs from one to
/// the next.
struct Finding {
  std::string name;
  std::optional<Strategy> strategy{};
  std::string failure{};
  std::vector<double> burst{};
  std::vector<double> cold{};
  std::vector<double> medians{};  // of the bursts, one a process
  double ours = 0;                // faults of the bursts
  double kernel = 0;

  [[nodiscard]] double in_burst() const { return bench::median(burst); }
  [[nodiscard]] double after_rest() const { return bench::median(cold); }
  [[nodiscard]] double least() const { return bench::percentile(medians, 0); }
  [[nodiscard]] double most() const { return bench::percentile(medians, 1); }
  [[nodiscard]] bool ok() const { return failure.empty(); }
  [[nodiscard]] std::string served_by() const;
  [[nodiscard]] bool by_kernel() const { return served_by() == by_the_kernel; }

  static constexpr const char* by_the_kernel = "the kernel";

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
    ours += answer.result.at("ours").get<double>();
    kernel += answer.result.at("kernel").get<double>();
  }
};

/// Of the touches of a burst: most of them a fault of ours, or some, or none but the kernel's, or
/// few a fault at all.
std::string Finding::served_by() const {
  const double most = static_cast<double>(burst.size()) / 2;
  if (strategy == Strategy::userfault) {
    return "a monitor";
  }
  if (ours > 0) {
    return ours > most ? "a handler" : "both";
  }
  return kernel > most ? by_the_kernel : "no fault";
}

Answer ask(const Session& session, const Finding& finding, unsigned rests) {
  if (finding.name == libsigsegv_name) {
    const std::chrono::nanoseconds each = rest;
    return ask_child("libsigsegv", {{"burst", burst}, {"rests", rests}, {"rest_ns", each.count()}},
                     session.progress());
  }
  return ask_child("faults", {{"subject", finding.name}, {"rests", rests}}, session.progress());
}

/// All in turn, several times.
void measure_in_turn(Session& session, std::vector<Finding>& findings) {
  constexpr unsigned rounds_per_pass = 20;
  constexpr unsigned most_passes = 10;
  const unsigned rounds = session.rounds(200, 40);
  const unsigned passes = std::clamp(rounds / rounds_per_pass, 1U, most_passes);
  const unsigned rests =
      std::min(rounds, session.options().quick ? rounds_per_pass / 2 : rounds_per_pass);
  for (unsigned pass = 0; pass < passes; ++pass) {
    for (Finding& finding : findings) {
      if (finding.ok()) {
        session.progress().say(fmt::format("one fault: {:<18}", finding.name), pass, passes);
        finding.take(ask(session, finding, rests));
      }
    }
  }
}

void add_rows(Session& session, const Finding& finding, const Finding& floor) {
  if (!finding.ok()) {
    session.add_missing(finding.name, metrics, finding.failure);
    return;
  }
  const std::string note = finding.by_kernel() ? "the kernel's own page fault: no handler runs"
                           : finding.served_by() == "both"
                               ? "the handler opens many pages at once, the kernel fills each"
                           : finding.served_by() == "no fault"
                               ? "no fault: the page is there before the touch"
                               : "";
  const auto add = [&](const char* metric, std::optional<double> value, const std::string& said) {
    session.add(
        {.subject = finding.name, .metric = metric, .value = value, .unit = "ns", .note = said});
  };
  add("fault_ns", finding.in_burst(), note);
  add("fault_least_ns", finding.least(), "the least of the processes' medians");
  add("fault_most_ns", finding.most(), "the largest of the processes' medians");
  add("fault_cold_ns", finding.after_rest(), note);
  add("fault_floor_ns", floor.ok() ? std::optional(floor.in_burst()) : std::nullopt,
      floor.ok() ? "a SIGSEGV handler with nothing in it but mprotect, in a burst; the same for all"
                 : floor.failure);
}

void add_to_table(Table& table, const Finding& finding, const Finding& floor) {
  if (!finding.ok()) {
    table.add_sentence({finding.name}, finding.failure);
    return;
  }
  const auto above_floor = [&](double value, double bare) {
    return floor.ok() ? fmt::format("{:.2f}", value / bare) : "-";
  };
  table.add({finding.name, finding.served_by(), grouped(finding.in_burst()),
             fmt::format("{} - {}", grouped(finding.least()), grouped(finding.most())),
             above_floor(finding.in_burst(), floor.in_burst()), grouped(finding.after_rest()),
             above_floor(finding.after_rest(), floor.after_rest())});
}

std::string sentence(const Finding& finding, const Finding& floor) {
  if (!finding.ok() || !floor.ok() || finding.ours == 0 || finding.name == floor.name) {
    return {};
  }
  return fmt::format(
      "A page costs {} {:.1f} us in a burst, {:.2f} times what a bare handler takes, and {:.1f} us "
      "after a rest, {:.2f} "
      "times.",
      finding.name, finding.in_burst() / 1000, finding.in_burst() / floor.in_burst(),
      finding.after_rest() / 1000, finding.after_rest() / floor.after_rest());
}

}  // namespace

void compare_faults(Session& session) {
  const std::string bare(bare_handler_name);
  std::vector<Finding> findings;
  for (const Subject& subject : session.strategies()) {
    findings.push_back(
        {.name = subject.name, .strategy = subject.strategy, .failure = subject.unsupported});
  }
  if (const auto peer = session.peer(libsigsegv_name)) {
    findings.push_back({.name = peer->name, .failure = peer->unsupported});
  }
  if (findings.empty() && !session.includes(bare)) {
    return;
  }
  findings.push_back({.name = bare});
  measure_in_turn(session, findings);
  const Finding& floor = findings.back();
  Table table({"ns for one page", "served by", "burst", "range of runs", "bare = 1", "after 10 ms",
               "bare = 1"},
              2);
  std::vector<std::string> sentences;
  for (const Finding& finding : findings) {
    add_rows(session, finding, floor);
    add_to_table(table, finding, floor);
    sentences.push_back(sentence(finding, floor));
  }
  session.print_title(
      "ONE FAULT",
      "One touch of one page, growing by one page a time: page after page, and with 10 ms of rest "
      "before "
      "each. Medians, filling the page with zeros included; range: the medians of single "
      "processes. "
      "bare_handler calls mprotect and nothing else, libsigsegv finds the handler of a region "
      "first. both: "
      "a handler opens many pages at once. A "
      "thread's stack, Boost's and malloc's are served by the kernel, as demand_paging is.");
  session.print(table);
  session.print_sentences(sentences);
}

}  // namespace growstack::compare
