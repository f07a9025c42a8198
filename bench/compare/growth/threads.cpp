// How fast do stacks grow when several threads grow theirs at once? What the threads share shows:
// the kernel's lock of the address space, and the helper.
#include "growth/depths.hpp"
#include "parts/at_once.hpp"
#include "parts/descent.hpp"
#include "parts/errors.hpp"
#include "parts/memory.hpp"
#include "run/measurement.hpp"
#include "run/turns.hpp"

#include <growstack/growstack.hpp>

#include <unistd.h>

#include <array>
#include <span>

namespace growstack::compare {
namespace {

constexpr std::size_t depth = mebibyte;
constexpr std::size_t reserve = depth + 256 * kibibyte;
constexpr std::array thread_counts{1U, 2U, 4U, 8U};
const std::string base_name(name(baseline));

/// Returns how many stacks each thread takes down, one after the other: so many that the time in
/// which the threads wake up is small beside theirs, and fewer when there are more threads, because
/// this measurement would spend most of its time on their pages.
constexpr unsigned stacks_each(unsigned threads) { return threads == 1 ? 8 : 4; }

// ---- in the child -------------------------------------------------------------------------------

/// Returns the nanoseconds from when the first thread starts until the last one is done. They
/// include the growths, the switches to the stacks and back, and waiting for a processor. They do
/// not include making and releasing stacks and threads, which happens before and afterwards: in
/// between it would compete with the growths. The memory is what the contender before gave back,
/// and as much, because no shallow stack has huge pages.
double grow_at_once(const Contender& contender, unsigned threads) {
  const std::size_t each = stacks_each(threads);
  const StackOptions options{
      .reserve = reserve, .strategy = strategy_named(contender.subject), .name = "thread"};
  std::vector<Stack> stacks;
  while (stacks.size() < threads * each) {
    stacks.emplace_back(options);
  }
  const auto attach = [](unsigned) {
    bench::require_no_error(handler::attach_thread(), "attach_thread");
  };
  return bench::time_at_once(threads, attach, [&](unsigned thread) {
    for (Stack& stack : std::span(stacks).subspan(thread * each, each)) {
      call(stack, [&] { bench::descend(bench::address_of(stack.base()) - depth); });
    }
  });
}

/// Answers for each name {threads: {"ns", "ratio", "mib_per_s"}, ...} or {"refusal"}.
nlohmann::json measure(const nlohmann::json& request, Progress& progress) {
  raise_limits_for_stacks(reserve);
  bench::warm_memory(2 * thread_counts.back() * stacks_each(thread_counts.back()) * depth);
  Turns turns(progress);
  Results results;
  for (const unsigned threads : thread_counts) {
    auto all = contenders(request.at("subjects"), base_name);
    const std::string what = fmt::format("growth: {} threads,", threads);
    turns.take(1, what, all, [&](Contender& each) { grow_at_once(each, threads); });
    turns.take(request.at("rounds"), what, all,
               [&](Contender& each) { each.nanoseconds.push_back(grow_at_once(each, threads)); });
    for (const Contender& each : all) {
      nlohmann::json& result = results.of(each)[std::to_string(threads)];
      result = times(each, *find(all, base_name));
      if (each.refusal.empty()) {
        constexpr double nanoseconds_per_second = 1e9;
        const double mebibytes = threads * stacks_each(threads);  // each stack is 1 MiB deep
        result["mib_per_s"] = mebibytes * nanoseconds_per_second / result.at("ns").get<double>();
      }
    }
    results.add_refusals(all);
  }
  return results.all();
}

// ---- in the parent ------------------------------------------------------------------------------

std::vector<Row> rows(const Outcome& its, const Outcomes&) {
  std::vector<Row> rows;
  for (const unsigned threads : thread_counts) {
    rows.push_back(its.row(fmt::format("grow_threads_{}", threads),
                           its.number(fmt::format("{}/mib_per_s", threads)), "MiB/s",
                           fmt::format("by {} threads together, on {} processors", threads,
                                       sysconf(_SC_NPROCESSORS_ONLN))));
    rows.push_back(its.row(fmt::format("grow_threads_ratio_{}", threads),
                           its.number(fmt::format("{}/ratio", threads)), "ratio",
                           fmt::format("time, to {} with as many threads", base_name),
                           base_name + " could not be measured"));
  }
  return rows;
}

const std::vector<std::string> ratios{"1/ratio", "2/ratio", "4/ratio", "8/ratio"};

Table table(const Outcomes& all) {
  Table table({"threads", "1", "2", "4", "8"});
  add_section(table, all, "MiB/s, all threads together",
              {"1/mib_per_s", "2/mib_per_s", "4/mib_per_s", "8/mib_per_s"}, grouped);
  add_section(table, all, "time, demand_paging = 1", ratios, decimals<2>);
  return table;
}

const Registered registered(
    {.name = "growth_threads",
     .group = "growth",
     .title = "GROWTH BY THREADS AT ONCE",
     .what = "Each thread takes 4 fresh stacks to 1 MiB (alone 8), one after the other, page by "
             "page. All start together, and the time ends when the last one is done. It includes "
             "switching to a stack, but not making and releasing stacks and threads. The figures "
             "are medians of rounds in which all take turns. demand_paging_again is demand_paging "
             "measured twice: smaller differences mean nothing. The threads share one address "
             "space and its lock (mmap_lock), which mprotect and the growth of MAP_GROWSDOWN take "
             "exclusively. A helper or a monitor serves one fault after the other. What "
             "demand_paging does not gain by more threads has nothing to do with us.",
     .subjects = [](const Session& session) { return session.strategies(gets_memory_late); },
     .base = name(baseline),
     .rounds = {15, 2},
     .measure = measure,
     .rows = rows,
     .table = table});

}  // namespace
}  // namespace growstack::compare
