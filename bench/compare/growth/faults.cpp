// What does one fault cost: a single page of growth, in a burst and after a rest, compared with a
// handler that only calls mprotect?
#include "parts/bare_handler.hpp"
#include "parts/descent.hpp"
#include "parts/errors.hpp"
#include "parts/memory.hpp"
#include "parts/one_fault.hpp"
#include "parts/round_trip.hpp"
#include "parts/samples.hpp"
#include "run/measurement.hpp"

#include <growstack/growstack.hpp>

#include <sys/resource.h>

#include <array>
#include <chrono>

namespace growstack::compare {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::nanoseconds rest = 10ms;
constexpr std::size_t burst = 1024;  // pages, one after the other
/// More than these need, and less than the usual RLIMIT_STACK.
constexpr std::size_t reserve = 6 * mebibyte;

// ---- in the child -------------------------------------------------------------------------------

double kernel_faults() {
  rusage used{};
  bench::require(getrusage(RUSAGE_THREAD, &used) == 0, "getrusage");
  return static_cast<double>(used.ru_minflt);
}

/// Touches each of so many pages once, and waits before each. Returns the times, and how many
/// faults we and the kernel served: a page that was there already has neither.
nlohmann::json time_pages(const std::string& subject, std::size_t pages,
                          std::chrono::nanoseconds idle) {
  std::vector<double> nanoseconds(pages);
  if (subject == bare_handler_name) {
    const bench::BareHandler installed;
    bench::time_each_bare_fault(nanoseconds, idle);
    return {{"ns", nanoseconds}, {"ours", pages}, {"kernel", pages}};
  }
  Stack stack({.reserve = reserve,
               .policy = bench::page_by_page,
               .strategy = strategy_named(subject),
               .name = "faults"});
  double faults = 0;
  call(stack, [&] {
    faults = -kernel_faults();
    bench::time_each_page(nanoseconds, idle);
    faults += kernel_faults();
  });
  return {{"ns", nanoseconds}, {"ours", stack.counters().growth_faults}, {"kernel", faults}};
}

constexpr bool helper_commits(const StrategyDescription& strategy) {
  return strategy.helper_commits;
}

/// Returns times of bare round trips, with which a helper's faults are compared; none for others.
std::vector<double> round_trips(const std::string& subject) {
  std::vector<double> nanoseconds;
  if (is_strategy(subject, helper_commits)) {
    nanoseconds.resize(burst);
    bench::time_each_round_trip(nanoseconds);
  }
  return nanoseconds;
}

/// Answers {"subject", "rests"} with {"burst": times, "ours", "kernel", "cold": times after a
/// rest, "round_trips"}.
nlohmann::json measure(const nlohmann::json& request, Progress&) {
  const std::string subject = request.at("subject");
  raise_limits_for_stacks(reserve);
  bench::warm_memory(reserve);
  bench::prepare_to_time_pages();
  const nlohmann::json in_burst = time_pages(subject, burst, 0ns);
  return {{"burst", in_burst.at("ns")},
          {"ours", in_burst.at("ours")},
          {"kernel", in_burst.at("kernel")},
          {"round_trips", round_trips(subject)},
          {"cold", time_pages(subject, request.at("rests"), rest).at("ns")}};
}

// ---- in the parent ------------------------------------------------------------------------------

/// The bare handler takes part whenever anybody does.
std::vector<Subject> subjects(const Session& session) {
  std::vector<Subject> all = session.strategies();
  if (const auto libsigsegv = session.peer(libsigsegv_name)) {
    all.push_back(*libsigsegv);
  }
  if (!all.empty() || session.includes(bare_handler_name)) {
    all.push_back({.name = std::string(bare_handler_name)});
  }
  return all;
}

/// The samples of one subject from several processes: where the kernel places a helper thread
/// differs from one process to the next.
struct Samples {
  std::vector<double> burst{};
  std::vector<double> cold{};
  std::vector<double> medians{};  // of the bursts, one a process
  std::vector<double> round_trips{};
  double ours = 0;  // faults of the bursts
  double kernel = 0;

  void add(const nlohmann::json& result) {
    const auto some = result.at("burst").get<std::vector<double>>();
    const auto rests = result.at("cold").get<std::vector<double>>();
    const auto trips = result.value("round_trips", std::vector<double>());
    burst.insert(burst.end(), some.begin(), some.end());
    cold.insert(cold.end(), rests.begin(), rests.end());
    round_trips.insert(round_trips.end(), trips.begin(), trips.end());
    medians.push_back(bench::median(some));
    ours += result.at("ours").get<double>();
    kernel += result.at("kernel").get<double>();
  }

  /// Returns who served the touches of the bursts: us most of them, us some, only the kernel, or
  /// nobody because few were faults.
  [[nodiscard]] std::string served_by() const {
    const double most = static_cast<double>(burst.size()) / 2;
    return ours > most     ? "a handler"
           : ours > 0      ? "both"
           : kernel > most ? "the kernel"
                           : "no fault";
  }
};

nlohmann::json result_of(const Samples& samples, const Samples& bare, const std::string& subject) {
  const double least = bench::percentile(samples.medians, 0);
  const double most = bench::percentile(samples.medians, 1);
  nlohmann::json result{{"burst", bench::median(samples.burst)},
                        {"cold", bench::median(samples.cold)},
                        {"least", least},
                        {"most", most},
                        {"range", fmt::format("{} - {}", grouped(least), grouped(most))},
                        {"served_by", is_strategy(subject,
                                                  [](const StrategyDescription& each) {
                                                    return each.event == GrowthEvent::monitor;
                                                  })
                                          ? "a monitor"
                                          : samples.served_by()}};
  if (!samples.round_trips.empty()) {
    result["round_trip"] = bench::median(samples.round_trips);
  }
  if (!bare.burst.empty()) {
    result["floor"] = bench::median(bare.burst);
    result["burst_ratio"] = bench::median(samples.burst) / bench::median(bare.burst);
    result["cold_ratio"] = bench::median(samples.cold) / bench::median(bare.cold);
  }
  return result;
}

/// Asks everybody in turn, several times.
Outcomes ask(const Measurement& self, const Session& session,
             const std::vector<Subject>& subjects) {
  constexpr unsigned rounds_per_pass = 20;
  constexpr unsigned most_passes = 10;
  const unsigned rounds = session.rounds(200, 40);
  const unsigned passes = std::clamp(rounds / rounds_per_pass, 1U, most_passes);
  const unsigned rests =
      std::min(rounds, session.options().quick ? rounds_per_pass / 2 : rounds_per_pass);
  Outcomes all(subjects.size());
  std::vector<Samples> samples(subjects.size());
  for (unsigned pass = 0; pass < passes; ++pass) {
    for (std::size_t index = 0; index < subjects.size(); ++index) {
      const Subject& subject = subjects[index];
      if (!all[index].ok()) {
        continue;
      }
      session.progress().say(fmt::format("one fault: {:<18}", subject.name), pass, passes);
      all[index] =
          subject.name == libsigsegv_name
              ? ask_program(session, subject,
                            {{"burst", burst}, {"rests", rests}, {"rest_ns", rest.count()}})
              : ask_one(self.name, session, subject, {{"subject", subject.name}, {"rests", rests}});
      if (all[index].ok()) {
        samples[index].add(all[index].result);
      }
    }
  }
  for (std::size_t index = 0; index < subjects.size(); ++index) {
    if (all[index].ok()) {
      all[index].result = result_of(samples[index], samples.back(), subjects[index].name);
    }
  }
  return all;
}

std::vector<Row> rows(const Outcome& its, const Outcomes& all) {
  const std::string served_by = its.text("served_by");
  const std::string note =
      served_by == "the kernel" ? "the kernel's own page fault: no handler runs"
      : served_by == "both"     ? "the handler opens many pages at once, the kernel fills each"
      : served_by == "no fault" ? "no fault: the page is there before the touch"
                                : "";
  std::vector<Row> rows{
      its.row("fault_ns", "burst", "ns", note),
      its.row("fault_least_ns", "least", "ns", "the least of the processes' medians"),
      its.row("fault_most_ns", "most", "ns", "the largest of the processes' medians"),
      its.row("fault_cold_ns", "cold", "ns", note),
      its.row("fault_floor_ns", "floor", "ns",
              "a SIGSEGV handler that only calls mprotect, in a burst; the same for all",
              all.back().failure)};
  if (is_strategy(its.name, helper_commits)) {
    rows.push_back(its.row("fault_round_trip_ns", "round_trip", "ns",
                           "a byte through a pipe to a thread on the same processor, and back"));
  }
  return rows;
}

std::vector<std::string> remarks(const Outcomes& all) {
  std::vector<std::string> sentences;
  for (const Outcome& each : all) {
    if (const auto trip = each.number("round_trip")) {
      sentences.push_back(
          fmt::format("{}: a bare round trip through a pipe, to a thread on the "
                      "same processor, takes {} ns.",
                      each.name, grouped(*trip)));
    }
  }
  return sentences;
}

constexpr std::array columns{
    Column{"served by", "served_by"},       Column{"burst", "burst", grouped},
    Column{"range of runs", "range"},       Column{"bare = 1", "burst_ratio", decimals<2>},
    Column{"after 10 ms", "cold", grouped}, Column{"bare = 1", "cold_ratio", decimals<2>}};

/// Returns half of the range of the processes' medians.
double noise(const Rows& rows) {
  const auto range = rows.ratio("in_handler", "fault_most_ns", "in_handler", "fault_least_ns");
  return range ? bench::from_one(*range) / 2 : 0;
}

std::vector<Aim> aims() {
  const auto to_bare = [](const Rows& rows, const std::string& subject) {
    return rows.ratio(subject, "fault_ns", subject, "fault_floor_ns");
  };
  const auto to_handler_and_round_trip = [](const Rows& rows, const std::string& subject) {
    const auto figure = rows.value(subject, "fault_ns");
    const auto handler = rows.value("in_handler", "fault_ns");
    const auto round_trip = rows.value(subject, "fault_round_trip_ns");
    return figure && handler && round_trip ? std::optional(*figure / (*handler + *round_trip))
                                           : std::nullopt;
  };
  return {{"one fault, bare handler = 1", to_bare, {.handlers = 1.10}, noise},
          {"one fault, in_handler and a bare round trip = 1",
           to_handler_and_round_trip,
           {.helper = 1.10},
           noise},
          {"one fault after 10 ms, in_handler = 1",
           ratio_to("in_handler", "fault_cold_ns"),
           {.helper = 2.0},
           noise}};
}

const Registered registered(
    {.name = "faults",
     .group = "growth",
     .title = "ONE FAULT",
     .what =
         "One touch of one page, on a stack that grows by one page at a time: page after page (a "
         "burst), and with 10 ms of rest before each. The figures are medians and include filling "
         "the page with zeros; the range is that of the medians of single processes. bare_handler "
         "only calls mprotect, libsigsegv first finds the handler of a region. both: a handler "
         "opens many pages at once. The kernel serves the stacks of threads, of Boost and of "
         "malloc as it serves demand_paging.",
     .subjects = subjects,
     .ask = ask,
     .measure = measure,
     .rows = rows,
     .lines = "ns for one page",
     .columns = columns,
     .remarks = remarks,
     .aims = aims});

}  // namespace
}  // namespace growstack::compare
