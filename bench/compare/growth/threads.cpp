// Growth by several threads at once: what they have in common, the kernel's lock of the address
// space and a helper, shows.
#include "growth/depths.hpp"
#include "run/group.hpp"

#include "parts/at_once.hpp"
#include "parts/descent.hpp"
#include "parts/memory.hpp"
#include "parts/samples.hpp"
#include "parts/turns.hpp"
#include "run/side_by_side.hpp"

#include <growstack/growstack.hpp>

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <system_error>
#include <vector>

namespace growstack::compare {
namespace {

constexpr std::size_t depth = 1 * mebibyte;
constexpr std::size_t reserve = depth + 256 * kibibyte;
constexpr std::array thread_counts{1U, 2U, 4U, 8U};

/// Of each thread, one after the other: so many that the time in which the threads wake up is small
/// beside theirs, and fewer where there are more threads, whose pages would take most of this
/// measurement.
constexpr unsigned stacks_each(unsigned threads) { return threads == 1 ? 8 : 4; }

/// These do not grow: locked has its memory from the start, and heap from malloc, which keeps what
/// stacks before had.
constexpr std::array left_out{Strategy::locked, Strategy::heap};

// ---- in the child -------------------------------------------------------------------------------

struct Contender {
  std::string name;
  Strategy strategy;
  std::vector<double> nanoseconds{};
  std::string refusal{};
};

void grow(Stack& stack) {
  call(stack, [&] { bench::descend(reinterpret_cast<std::uintptr_t>(stack.base()) - depth); });
}

void attach(unsigned) {
  if (const int error = handler::attach_thread(); error != 0) {
    throw std::system_error(error, std::generic_category(), "attach_thread");
  }
}

std::vector<Stack> make_stacks(Strategy strategy, std::size_t count) {
  std::vector<Stack> stacks;
  stacks.reserve(count);
  for (std::size_t each = 0; each < count; ++each) {
    stacks.emplace_back(StackOptions{.reserve = reserve, .strategy = strategy, .name = "thread"});
  }
  return stacks;
}

/// From when the first thread goes until the last one is done, in nanoseconds. In the time: the
/// growths, the switches to the stacks and back, threads that wait for a processor. Not in the
/// time: making and releasing stacks and threads, which is all done before and afterwards; by turns
/// with the growths it would take part in what they wait for. The memory is what the one before
/// gave back, and as much: no shallow stack has huge pages.
double grow_at_once(Strategy strategy, unsigned threads) {
  const std::size_t each = stacks_each(threads);
  std::vector<Stack> stacks = make_stacks(strategy, threads * each);
  return bench::time_at_once(threads, attach, [&](unsigned thread) {
    for (Stack& stack : std::span(stacks).subspan(thread * each, each)) {
      grow(stack);
    }
  });
}

/// The baseline takes part twice.
std::vector<Contender> contenders_of(const nlohmann::json& subjects) {
  std::vector<Contender> contenders;
  for (const std::string subject : subjects) {
    contenders.push_back({.name = subject, .strategy = strategy_named(subject)});
  }
  contenders.push_back({.name = again_name, .strategy = baseline});
  return contenders;
}

const Contender& named(const std::vector<Contender>& contenders, std::string_view name) {
  return *std::find_if(contenders.begin(), contenders.end(),
                       [&](const Contender& each) { return each.name == name; });
}

std::string label(unsigned threads) { return std::to_string(threads); }

void add_results(nlohmann::json& results, const std::vector<Contender>& contenders,
                 unsigned threads) {
  const Contender& base = named(contenders, name(baseline));
  for (const Contender& contender : contenders) {
    if (!contender.refusal.empty()) {
      results[contender.name]["refusal"] = contender.refusal;
      continue;
    }
    nlohmann::json result{{"ns", bench::median(contender.nanoseconds)}};
    if (const auto ratio = bench::median_ratio(contender.nanoseconds, base.nanoseconds)) {
      result["ratio"] = *ratio;
    }
    results[contender.name][label(threads)] = result;
  }
}

}  // namespace

/// {"subjects", "rounds"} to {subject: {threads: {"ns", "ratio"}, ...} or {"refusal"}}. The
/// baseline is one of them, and its result has {"again": {threads: ...}}.
nlohmann::json measure_growth_threads(const nlohmann::json& request, Progress& progress) {
  raise_limits_for_stacks(reserve);
  const unsigned rounds = request.at("rounds");
  std::mt19937 order;  // the same orders every time
  nlohmann::json results;
  bench::warm_memory(2 * thread_counts.back() * stacks_each(thread_counts.back()) * depth);
  for (const unsigned threads : thread_counts) {
    std::vector<Contender> contenders = contenders_of(request.at("subjects"));
    bench::take_turns(contenders, order, [&](Contender& contender) {
      grow_at_once(contender.strategy, threads);  // not counted
    });
    for (unsigned round = 0; round < rounds; ++round) {
      progress.say(fmt::format("growth: {} threads,", threads), round, rounds);
      bench::take_turns(contenders, order, [&](Contender& contender) {
        contender.nanoseconds.push_back(grow_at_once(contender.strategy, threads));
      });
    }
    add_results(results, contenders, threads);
  }
  results[std::string(name(baseline))]["again"] = results.at(again_name);
  return results;
}

namespace {

// ---- in the parent ------------------------------------------------------------------------------

std::vector<std::string> metrics() {
  std::vector<std::string> all;
  for (const unsigned threads : thread_counts) {
    all.push_back("grow_threads_" + label(threads));
    all.push_back("grow_threads_ratio_" + label(threads));
  }
  return all;
}

/// MiB per second by all threads together.
double throughput(const Outcome& outcome, unsigned threads) {
  constexpr double nanoseconds_per_second = 1e9;
  const double amount = static_cast<double>(depth / mebibyte) * threads * stacks_each(threads);
  return amount / outcome.result.at(label(threads)).at("ns").get<double>() * nanoseconds_per_second;
}

std::optional<double> ratio(const nlohmann::json& result, unsigned threads) {
  const auto found = result.find(label(threads));
  return found != result.end() && found->contains("ratio")
             ? std::optional(found->at("ratio").get<double>())
             : std::nullopt;
}

long processors() { return sysconf(_SC_NPROCESSORS_ONLN); }

void add_rows(Session& session, const Outcome& outcome) {
  const std::string& subject = outcome.subject.name;
  if (!outcome.ok()) {
    session.add_missing(subject, metrics(), outcome.failure);
    return;
  }
  for (const unsigned threads : thread_counts) {
    session.add(
        {.subject = subject,
         .metric = "grow_threads_" + label(threads),
         .value = throughput(outcome, threads),
         .unit = "MiB/s",
         .note = fmt::format("by {} threads together, on {} processors", threads, processors())});
    const auto to_baseline = ratio(outcome.result, threads);
    session.add({.subject = subject,
                 .metric = "grow_threads_ratio_" + label(threads),
                 .value = to_baseline,
                 .unit = "ratio",
                 .note = to_baseline
                             ? fmt::format("time, to {} with as many threads", name(baseline))
                             : fmt::format("{} could not be measured", name(baseline))});
  }
}

using CellAt = std::function<std::string(const Outcome&, unsigned threads)>;

void add_section(Table& table, const std::vector<Outcome>& outcomes, const char* heading,
                 const CellAt& cell_at) {
  table.add_heading(heading);
  for (const Outcome& outcome : outcomes) {
    if (outcome.ok()) {
      std::vector<std::string> cells{"  " + outcome.subject.name};
      for (const unsigned threads : thread_counts) {
        cells.push_back(cell_at(outcome, threads));
      }
      table.add(std::move(cells));
    }
  }
}

Table table_of(const std::vector<Outcome>& outcomes) {
  std::vector<std::string> titles{"threads"};
  for (const unsigned threads : thread_counts) {
    titles.push_back(label(threads));
  }
  Table table(std::move(titles), 1);
  add_section(table, outcomes, "MiB/s, all threads together",
              [](const Outcome& outcome, unsigned threads) {
                return grouped(throughput(outcome, threads));
              });
  add_section(table, outcomes, "time, demand_paging = 1",
              [](const Outcome& outcome, unsigned threads) {
                const auto to_baseline = ratio(outcome.result, threads);
                return to_baseline ? fmt::format("{:.2f}", *to_baseline) : "-";
              });
  for (const Outcome& outcome : outcomes) {
    if (!outcome.ok()) {
      table.add_sentence({outcome.subject.name}, outcome.failure);
    }
  }
  return table;
}

/// The baseline beside itself: what the ratios are worth.
std::string noise_sentence(const nlohmann::json& base) {
  if (base.is_null()) {
    return {};
  }
  double worst = 1;
  for (const unsigned threads : thread_counts) {
    const auto again = ratio(base.at("again"), threads);
    worst = again && bench::from_one(*again) > bench::from_one(worst) ? *again : worst;
  }
  return fmt::format(
      "Measured twice, {} differs from itself by up to {}: smaller differences mean nothing.",
      name(baseline), in_percent(worst));
}

/// As many threads as have a processor each, of those measured; 1 if there is only one.
unsigned most_in_parallel() {
  unsigned most = thread_counts.front();
  for (const unsigned threads : thread_counts) {
    most = threads <= processors() ? threads : most;
  }
  return most;
}

std::string scaling_sentence(const std::vector<Outcome>& outcomes) {
  const unsigned threads = most_in_parallel();
  if (threads == 1) {
    return "This machine has one processor: threads only take turns.";
  }
  std::vector<std::string> gains;
  for (const Outcome& outcome : outcomes) {
    if (outcome.ok()) {
      gains.push_back(fmt::format("{} {:.2f}", outcome.subject.name,
                                  throughput(outcome, threads) / throughput(outcome, 1)));
    }
  }
  return fmt::format(
      "{} threads on {} processors grow so many times as fast as one: {}. They share one address "
      "space and its lock "
      "(mmap_lock), which mprotect and the growth of MAP_GROWSDOWN take for themselves alone; a "
      "helper or a monitor serves "
      "one "
      "fault after the other. What {} does not gain has nothing to do with us.",
      threads, processors(), listed(gains), name(baseline));
}

bool takes_part(Strategy strategy) {
  return std::find(left_out.begin(), left_out.end(), strategy) == left_out.end();
}

}  // namespace

void compare_growth_threads(Session& session) {
  const std::vector<Subject> subjects = session.strategies(takes_part);
  if (subjects.empty()) {
    return;
  }
  const SideBySide found = measure_side_by_side(session, "growth_threads", subjects, name(baseline),
                                                session.rounds(15, 2));
  for (const Outcome& outcome : found.outcomes) {
    add_rows(session, outcome);
  }
  session.print_title(
      "GROWTH BY THREADS AT ONCE",
      fmt::format(
          "Each thread takes fresh stacks to {}, {} (alone {}), one after the other, page by page; "
          "all start "
          "together, and the time is until the last one is done. Making and releasing stacks and "
          "threads is not in it, switching to a stack is. Medians of rounds in which all take "
          "turns.",
          in_units(depth), stacks_each(2), stacks_each(1)));
  session.print(table_of(found.outcomes));
  if (found.any_ok()) {
    session.print_sentences({noise_sentence(found.base), scaling_sentence(found.outcomes)});
  }
}

}  // namespace growstack::compare
