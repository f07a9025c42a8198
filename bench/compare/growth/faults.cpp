// What does one fault cost: a single page of growth, in a burst and after a rest, compared with a
// handler that only calls mprotect?
#include "parts/bare_handler.hpp"
#include "parts/descent.hpp"
#include "parts/errors.hpp"
#include "parts/memory.hpp"
#include "parts/one_fault.hpp"
#include "parts/samples.hpp"
#include "run/measurement.hpp"

#include <growstack/growstack.hpp>

#include <sys/resource.h>

#include <chrono>

namespace growstack::compare {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::nanoseconds rest = 10ms;
constexpr std::size_t burst = 1024;  // pages, one after the other
/// More than these need, and less than the usual RLIMIT_STACK.
constexpr std::size_t reserve = std::size_t{6} * 1024 * 1024;

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

/// Answers {"subject", "rests"} with {"burst": times, "ours", "kernel", "cold": times after a
/// rest}.
nlohmann::json measure(const nlohmann::json& request, Progress&) {
  const std::string subject = request.at("subject");
  raise_limits_for_stacks(reserve);
  bench::warm_memory(reserve);
  bench::prepare_to_time_pages();
  const nlohmann::json in_burst = time_pages(subject, burst, 0ns);
  return {{"burst", in_burst.at("ns")},
          {"ours", in_burst.at("ours")},
          {"kernel", in_burst.at("kernel")},
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
  double ours = 0;                // faults of the bursts
  double kernel = 0;

  void add(const nlohmann::json& result) {
    const auto some = result.at("burst").get<std::vector<double>>();
    const auto rests = result.at("cold").get<std::vector<double>>();
    burst.insert(burst.end(), some.begin(), some.end());
    cold.insert(cold.end(), rests.begin(), rests.end());
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
  nlohmann::json result{
      {"burst", bench::median(samples.burst)},
      {"cold", bench::median(samples.cold)},
      {"least", bench::percentile(samples.medians, 0)},
      {"most", bench::percentile(samples.medians, 1)},
      {"served_by",
       is_strategy(subject, is_served_by_monitor) ? "a monitor" : samples.served_by()}};
  if (!bare.burst.empty()) {
    const double floor = bench::median(bare.burst);
    result["floor"] = floor;
    result["burst_ratio"] = bench::median(samples.burst) / floor;
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

std::string note_of(const Outcome& its) {
  const std::string served_by = its.text("served_by");
  return served_by == "the kernel" ? "the kernel's own page fault: no handler runs"
         : served_by == "both"     ? "the handler opens many pages at once, the kernel fills each"
         : served_by == "no fault" ? "no fault: the page is there before the touch"
                                   : "";
}

std::vector<Row> rows(const Outcome& its, const Outcomes& all) {
  const auto row = [&](const char* metric, const char* member, const std::string& note) -> Row {
    return {.metric = metric, .value = its.number(member), .unit = "ns", .note = note};
  };
  return {row("fault_ns", "burst", note_of(its)),
          row("fault_least_ns", "least", "the least of the processes' medians"),
          row("fault_most_ns", "most", "the largest of the processes' medians"),
          row("fault_cold_ns", "cold", note_of(its)),
          row("fault_floor_ns", "floor",
              all.back().ok() ? "a SIGSEGV handler that only calls mprotect, in a burst; the same "
                                "for all"
                              : all.back().failure)};
}

Table table(const Outcomes& all) {
  Table table({"ns for one page", "served by", "burst", "range of runs", "bare = 1", "after 10 ms",
               "bare = 1"},
              2);
  add_lines(table, all, "", [](const Outcome& its) -> Cells {
    return {its.text("served_by"),
            its.cell("burst", grouped),
            its.cell("least", grouped) + " - " + its.cell("most", grouped),
            its.cell("burst_ratio", decimals<2>),
            its.cell("cold", grouped),
            its.cell("cold_ratio", decimals<2>)};
  });
  add_failures(table, all);
  return table;
}

std::string what() {
  return "One touch of one page, on a stack that grows by one page at a time: page after page (a "
         "burst), and with 10 ms of rest before each. The figures are medians and include filling "
         "the page with zeros; the range is that of the medians of single processes. bare_handler "
         "only calls mprotect, libsigsegv first finds the handler of a region. both: a handler "
         "opens many pages at once. The kernel serves the stacks of threads, of Boost and of "
         "malloc as it serves demand_paging.";
}

/// Returns half of the range of the processes' medians.
double noise(const Rows& rows) {
  const auto range = rows.ratio("in_handler", "fault_most_ns", "in_handler", "fault_least_ns");
  return range ? bench::from_one(*range) / 2 : 0;
}

std::vector<Aim> aims() {
  return {{.title = "one fault, bare handler = 1",
           .figure =
               [](const Rows& rows, const std::string& subject) {
                 return rows.ratio(subject, "fault_ns", subject, "fault_floor_ns");
               },
           .noise = noise,
           .handlers = 1.10},
          {.title = "one fault, in_handler = 1",
           .figure = ratio_to("in_handler", "fault_ns"),
           .noise = noise,
           .helper = 1.3},
          {.title = "one fault after 10 ms, in_handler = 1",
           .figure = ratio_to("in_handler", "fault_cold_ns"),
           .noise = noise,
           .helper = 2.0}};
}

const Registered faults({.name = "faults",
                         .group = "growth",
                         .title = "ONE FAULT",
                         .what = what,
                         .subjects = subjects,
                         .ask = ask,
                         .measure = measure,
                         .rows = rows,
                         .table = table,
                         .aims = aims});

}  // namespace
}  // namespace growstack::compare
