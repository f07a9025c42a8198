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

constexpr std::size_t depth = 1 * mebibyte;
constexpr std::size_t reserve = depth + 256 * kibibyte;
constexpr std::array thread_counts{1U, 2U, 4U, 8U};
const std::string base_name(name(baseline));

/// Returns how many stacks each thread takes down, one after the other: so many that the time in
/// which the threads wake up is small beside theirs, and fewer when there are more threads, because
/// this measurement would spend most of its time on their pages.
constexpr unsigned stacks_each(unsigned threads) { return threads == 1 ? 8 : 4; }

// ---- in the child -------------------------------------------------------------------------------

std::vector<Stack> make_stacks(Strategy strategy, std::size_t count) {
  std::vector<Stack> stacks;
  stacks.reserve(count);
  for (std::size_t each = 0; each < count; ++each) {
    stacks.emplace_back(StackOptions{.reserve = reserve, .strategy = strategy, .name = "thread"});
  }
  return stacks;
}

/// Returns the nanoseconds from when the first thread starts until the last one is done. They
/// include the growths, the switches to the stacks and back, and waiting for a processor. They do
/// not include making and releasing stacks and threads, which happens before and afterwards: in
/// between it would compete with the growths. The memory is what the contender before gave back,
/// and as much, because no shallow stack has huge pages.
double grow_at_once(const Contender& contender, unsigned threads) {
  const std::size_t each = stacks_each(threads);
  std::vector<Stack> stacks = make_stacks(strategy_named(contender.subject), threads * each);
  const auto attach = [](unsigned) {
    bench::require_no_error(handler::attach_thread(), "attach_thread");
  };
  return bench::time_at_once(threads, attach, [&](unsigned thread) {
    for (Stack& stack : std::span(stacks).subspan(thread * each, each)) {
      call(stack, [&] { bench::descend(bench::address_of(stack.base()) - depth); });
    }
  });
}

/// Answers for each name {threads: {"ns", "ratio"}, ...} or {"refusal"}.
nlohmann::json measure(const nlohmann::json& request, Progress& progress) {
  raise_limits_for_stacks(reserve);
  bench::warm_memory(2 * thread_counts.back() * stacks_each(thread_counts.back()) * depth);
  Rounds rounds(progress);
  Results results;
  for (const unsigned threads : thread_counts) {
    std::vector<Contender> contenders;
    for (const std::string subject : request.at("subjects")) {
      contenders.push_back({.name = subject, .subject = subject});
    }
    contenders.push_back({.name = again(base_name), .subject = base_name});
    const std::string what = fmt::format("growth: {} threads,", threads);
    rounds.run(1, what, contenders, [&](Contender& each) { grow_at_once(each, threads); });
    rounds.run(request.at("rounds"), what, contenders,
               [&](Contender& each) { each.nanoseconds.push_back(grow_at_once(each, threads)); });
    for (const Contender& each : contenders) {
      const nlohmann::json result = times(each, *find(contenders, base_name));
      if (result.contains("refusal")) {
        results.of(each).update(result);
      } else {
        results.of(each)[std::to_string(threads)] = result;
      }
    }
  }
  return results.all();
}

// ---- in the parent ------------------------------------------------------------------------------

/// Returns the MiB per second of all threads together.
std::optional<double> throughput(const Outcome& its, unsigned threads) {
  constexpr double nanoseconds_per_second = 1e9;
  const double mebibytes = static_cast<double>(depth / mebibyte) * threads * stacks_each(threads);
  const auto nanoseconds = its.number(std::to_string(threads) + "/ns");
  return nanoseconds ? std::optional(mebibytes / *nanoseconds * nanoseconds_per_second)
                     : std::nullopt;
}

std::optional<double> ratio(const Outcome& its, unsigned threads) {
  return its.number(std::to_string(threads) + "/ratio");
}

std::vector<Row> rows(const Outcome& its, const Outcomes&) {
  std::vector<Row> rows;
  for (const unsigned threads : thread_counts) {
    const std::string label = std::to_string(threads);
    rows.push_back({.metric = "grow_threads_" + label,
                    .value = throughput(its, threads),
                    .unit = "MiB/s",
                    .note = fmt::format("by {} threads together, on {} processors", threads,
                                        sysconf(_SC_NPROCESSORS_ONLN))});
    const auto to_base = ratio(its, threads);
    rows.push_back({.metric = "grow_threads_ratio_" + label,
                    .value = to_base,
                    .unit = "ratio",
                    .note = to_base ? fmt::format("time, to {} with as many threads", base_name)
                                    : fmt::format("{} could not be measured", base_name)});
  }
  return rows;
}

void add_section(Table& table, const Outcomes& all, const char* heading,
                 std::optional<double> (*figure)(const Outcome&, unsigned),
                 std::string (*format)(double)) {
  add_lines(table, all, heading, [&](const Outcome& its) {
    Cells cells;
    for (const unsigned threads : thread_counts) {
      cells.push_back(cell(figure(its, threads), format));
    }
    return cells;
  });
}

Table table(const Outcomes& all) {
  Cells titles{"threads"};
  for (const unsigned threads : thread_counts) {
    titles.push_back(std::to_string(threads));
  }
  Table table(titles);
  add_section(table, all, "MiB/s, all threads together", throughput, grouped);
  add_section(table, all, "time, demand_paging = 1", ratio, decimals<2>);
  add_failures(table, all);
  return table;
}

std::vector<std::string> remarks(const Outcomes& all) {
  std::vector<std::string> sentences;
  if (const Outcome* const twin = find(all, again(base_name))) {
    double worst = 1;
    for (const unsigned threads : thread_counts) {
      const double noise = ratio(*twin, threads).value_or(1);
      worst = bench::from_one(noise) > bench::from_one(worst) ? noise : worst;
    }
    sentences.push_back(noise_sentence(base_name, worst));
  }
  sentences.push_back(fmt::format(
      "The threads share one address space and its lock (mmap_lock), which mprotect and the growth "
      "of MAP_GROWSDOWN take exclusively. A helper or a monitor serves one fault after the other. "
      "What {} does not gain by more threads has nothing to do with us.",
      base_name));
  return sentences;
}

std::string what() {
  return fmt::format(
      "Each thread takes {} fresh stacks to {} (alone {}), one after the other, page by page. All "
      "start together, and the time ends when the last one is done. It includes switching to a "
      "stack, but not making and releasing stacks and threads. The figures are medians of rounds "
      "in which all take turns.",
      stacks_each(2), in_units(depth), stacks_each(1));
}

const Registered growth_threads(
    {.name = "growth_threads",
     .group = "growth",
     .title = "GROWTH BY THREADS AT ONCE",
     .what = what,
     .subjects = [](const Session& session) { return session.strategies(gets_memory_late); },
     .ask = ask_together,
     .measure = measure,
     .rows = rows,
     .table = table,
     .remarks = remarks,
     .base = name(baseline),
     .rounds = 15,
     .quick_rounds = 2});

}  // namespace
}  // namespace growstack::compare
