// A stack that swings: what it costs to give memory back at each return, beside never doing so.
#include "growth/depths.hpp"
#include "run/group.hpp"

#include "parts/descent.hpp"
#include "parts/memory.hpp"
#include "parts/samples.hpp"
#include "parts/turns.hpp"
#include "run/side_by_side.hpp"

#include <growstack/growstack.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <vector>

namespace growstack::compare {
namespace {

constexpr std::size_t reserve = 64 * mebibyte;

/// From one depth to another and back.
struct Swing {
  const char* name;  // in answers
  std::size_t from;
  std::size_t to;
  unsigned cycles;  // timed as one
};

// Twice as deep, across the depth where huge pages begin and far above it; and much deeper.
constexpr Swing across_huge{"across_huge", 1280 * kibibyte, 2560 * kibibyte, 6};
constexpr Swing shallow{"shallow", 100 * kibibyte, 200 * kibibyte, 24};
constexpr Swing far_down{"far_down", 16 * kibibyte, 1 * mebibyte, 4};
constexpr std::array swings{across_huge, shallow, far_down};

/// One excursion, and what may stay resident after it.
constexpr std::size_t excursion = 32 * mebibyte;
constexpr std::size_t resident_bound = 64 * kibibyte + 2 * across_huge.from + 2 * mebibyte;

/// Those that trim, but for grows_down: what a trim of that one gives back is a hole, into which
/// anything may be mapped.
constexpr std::array strategies_here{Strategy::pipe_helper,       Strategy::in_handler,
                                     Strategy::guard_markers,     Strategy::userfault,
                                     Strategy::userfault_signal,  Strategy::demand_paging,
                                     Strategy::demand_paging_huge};

// ---- in the child -------------------------------------------------------------------------------

/// Never twice, as if these were two ways: how far they are apart is what the figures are worth.
enum class Trims { each_time, never, never_too };

struct Contender {
  std::string subject;
  Trims trims;
  std::vector<double> nanoseconds{};  // a cycle
  std::vector<double> faults{};       // a cycle
  std::string refusal{};
};

std::uintptr_t base_of(const Stack& stack) {
  return reinterpret_cast<std::uintptr_t>(stack.base());
}

void trim_here() {
  if (const std::error_code error = Stack::trim_current()) {
    throw std::system_error(error, "trim_current");
  }
}

void run_cycles(std::uintptr_t lowest, bool trims, unsigned cycles) {
  for (unsigned each = 0; each < cycles; ++each) {
    bench::descend_writing(lowest);
    if (trims) {
      trim_here();
    }
  }
}

/// On a stack of its own each time: which memory it gets makes a difference in the caches. What the
/// first cycles do, a stack that swings does once.
void time_cycles(Contender& contender, const Swing& swing) {
  constexpr unsigned first_cycles = 2;
  bench::touch_and_free(swing.to, pages_taken_by(contender.subject, swing.to));
  Stack stack(
      {.reserve = reserve, .strategy = strategy_named(contender.subject), .name = "oscillation"});
  const bool trims = contender.trims == Trims::each_time;
  const std::uintptr_t lowest = base_of(stack) - swing.to;
  std::chrono::duration<double, std::nano> taken{};
  double faults = 0;
  const auto at_depth = [&] {
    run_cycles(lowest, trims, first_cycles);
    faults = -static_cast<double>(stack.counters().growth_faults);
    const auto before = std::chrono::steady_clock::now();
    run_cycles(lowest, trims, swing.cycles);
    taken = std::chrono::steady_clock::now() - before;
    faults += stack.counters().growth_faults;
  };
  call(stack, [&] { bench::descend(base_of(stack) - swing.from, at_depth); });
  contender.nanoseconds.push_back(taken.count() / swing.cycles);
  contender.faults.push_back(faults / swing.cycles);
}

std::size_t resident_after_excursion(Strategy strategy) {
  Stack stack({.reserve = reserve, .strategy = strategy, .name = "excursion"});
  std::size_t resident = 0;
  const auto at_depth = [&] {
    bench::descend_writing(base_of(stack) - excursion);
    trim_here();
    resident = stack.resident();
  };
  call(stack, [&] { bench::descend(base_of(stack) - across_huge.from, at_depth); });
  return resident;
}

/// The three of a subject follow each other.
std::vector<Contender> contenders_of(const nlohmann::json& subjects) {
  std::vector<Contender> contenders;
  for (const std::string subject : subjects) {
    for (const Trims trims : {Trims::each_time, Trims::never, Trims::never_too}) {
      contenders.push_back({.subject = subject, .trims = trims});
    }
  }
  return contenders;
}

nlohmann::json result_of(const Contender& trims, const Contender& never,
                         const Contender& never_too) {
  for (const Contender* each : {&trims, &never, &never_too}) {
    if (!each->refusal.empty()) {
      return {{"refusal", each->refusal}};
    }
  }
  return {{"trims_ns", bench::median(trims.nanoseconds)},
          {"never_ns", bench::median(never.nanoseconds)},
          {"ratio", bench::median_ratio(trims.nanoseconds, never.nanoseconds).value()},
          {"noise", bench::median_ratio(never_too.nanoseconds, never.nanoseconds).value()},
          {"faults", bench::median(trims.faults)}};
}

nlohmann::json excursion_result(const std::string& subject) {
  try {
    return {{"resident", resident_after_excursion(strategy_named(subject))}};
  } catch (const std::exception& error) {
    return {{"refusal", error.what()}};
  }
}

/// Into results[subject][name]; a refusal is that of the whole subject.
void add_result(nlohmann::json& results, const std::string& subject, const char* name,
                const nlohmann::json& result) {
  if (result.contains("refusal")) {
    results[subject]["refusal"] = result.at("refusal");
  } else {
    results[subject][name] = result;
  }
}

}  // namespace

/// {"subjects", "rounds"} to {subject: {swing: {"trims_ns", "never_ns", "ratio", "noise",
/// "faults"}, ..., "excursion": {"resident"}} or {"refusal"}}.
nlohmann::json measure_oscillation(const nlohmann::json& request, Progress& progress) {
  const unsigned rounds = request.at("rounds");
  const nlohmann::json& subjects = request.at("subjects");
  std::mt19937 order;  // the same orders every time
  nlohmann::json results;
  bench::warm_memory(reserve);
  for (const Swing& swing : swings) {
    std::vector<Contender> contenders = contenders_of(subjects);
    for (unsigned round = 0; round < rounds; ++round) {
      progress.say(fmt::format("oscillation: to {:>8},", in_units(swing.to)), round, rounds);
      bench::take_turns(contenders, order,
                        [&](Contender& contender) { time_cycles(contender, swing); });
    }
    for (std::size_t first = 0; first < contenders.size(); first += 3) {
      add_result(results, contenders[first].subject, swing.name,
                 result_of(contenders[first], contenders[first + 1], contenders[first + 2]));
    }
  }
  for (const std::string subject : subjects) {
    add_result(results, subject, "excursion", excursion_result(subject));
  }
  return results;
}

namespace {

// ---- in the parent ------------------------------------------------------------------------------

const std::vector<std::string> metrics{"oscillate_ratio", "oscillate_faults",
                                       "oscillate_resident_ratio", "oscillate_far_ratio"};

double value(const Outcome& outcome, const Swing& swing, const char* member) {
  return outcome.result.at(swing.name).at(member).get<double>();
}

/// Of the two swings by a factor of two: the one where a trim costs more.
const Swing& worse(const Outcome& outcome) {
  return value(outcome, across_huge, "ratio") >= value(outcome, shallow, "ratio") ? across_huge
                                                                                  : shallow;
}

double most_faults(const Outcome& outcome) {
  return std::max(value(outcome, across_huge, "faults"), value(outcome, shallow, "faults"));
}

double resident(const Outcome& outcome) {
  return outcome.result.at("excursion").at("resident").get<double>();
}

std::string there_and_back(const Swing& swing) {
  return fmt::format("from {} to {} and back", in_units(swing.from), in_units(swing.to));
}

void add_rows(Session& session, const Outcome& outcome) {
  const std::string& subject = outcome.subject.name;
  if (!outcome.ok()) {
    session.add_missing(subject, metrics, outcome.failure);
    return;
  }
  const auto add = [&](const char* metric, double figure, const char* unit,
                       const std::string& note) {
    session.add(
        {.subject = subject, .metric = metric, .value = figure, .unit = unit, .note = note});
  };
  add("oscillate_ratio", value(outcome, worse(outcome), "ratio"), "ratio",
      fmt::format("{}, trim_current() each time to never: the worse of two depths",
                  there_and_back(worse(outcome))));
  add("oscillate_faults", most_faults(outcome), "faults",
      "growth faults of ours a cycle, the larger of the two depths");
  add("oscillate_resident_ratio", resident(outcome) / static_cast<double>(resident_bound), "ratio",
      fmt::format("{} resident after {} and back to {}, to 64 KiB + 2 d + 2 MiB",
                  in_units(static_cast<std::uint64_t>(resident(outcome))), in_units(excursion),
                  in_units(across_huge.from)));
  add("oscillate_far_ratio", value(outcome, far_down, "ratio"), "ratio",
      there_and_back(far_down) + ", trim_current() each time to never: no aim, for the reader");
}

Table table_of(const std::vector<Outcome>& outcomes) {
  Table table({"us a cycle", "never trims", "trims", "never = 1", "faults of ours"}, 1);
  for (const Swing& swing : swings) {
    table.add_heading(there_and_back(swing));
    for (const Outcome& outcome : outcomes) {
      if (outcome.ok()) {
        table.add({"  " + outcome.subject.name,
                   short_number(value(outcome, swing, "never_ns") / 1000),
                   short_number(value(outcome, swing, "trims_ns") / 1000),
                   fmt::format("{:.2f}", value(outcome, swing, "ratio")),
                   fmt::format("{:.1f}", value(outcome, swing, "faults"))});
      }
    }
  }
  for (const Outcome& outcome : outcomes) {
    if (!outcome.ok()) {
      table.add_sentence({outcome.subject.name}, outcome.failure);
    }
  }
  return table;
}

Table resident_table(const std::vector<Outcome>& outcomes) {
  Table table({"", "KiB", "64 KiB + 2 d + 2 MiB = 1"}, 1);
  for (const Outcome& outcome : outcomes) {
    if (outcome.ok()) {
      table.add({outcome.subject.name, grouped(resident(outcome) / kibibyte),
                 fmt::format("{:.2f}", resident(outcome) / static_cast<double>(resident_bound))});
    }
  }
  return table;
}

/// The A/A ratio that is farthest from 1.
double noise(const std::vector<Outcome>& outcomes) {
  double worst = 1;
  for (const Outcome& outcome : outcomes) {
    for (const Swing& swing : swings) {
      if (outcome.ok() &&
          bench::from_one(value(outcome, swing, "noise")) > bench::from_one(worst)) {
        worst = value(outcome, swing, "noise");
      }
    }
  }
  return worst;
}

/// The names of those of whom it is true.
std::string those(const std::vector<Outcome>& outcomes,
                  const std::function<bool(const Outcome&)>& is_true) {
  std::vector<std::string> names;
  for (const Outcome& outcome : outcomes) {
    if (outcome.ok() && is_true(outcome)) {
      names.push_back(outcome.subject.name);
    }
  }
  return listed(names);
}

std::vector<std::string> what_to_see(const std::vector<Outcome>& outcomes) {
  const double worst = noise(outcomes);
  std::vector<std::string> sentences{
      fmt::format("Two stacks that never trim differ from each other by up to {}: smaller "
                  "differences mean nothing.",
                  in_percent(worst))};
  const auto say = [&](const char* text, const std::string& who) {
    if (!who.empty()) {
      sentences.push_back(fmt::format(fmt::runtime(text), who));
    }
  };
  say("A trim at each return from twice the depth costs nothing that stands out of that: {}.",
      those(outcomes, [&](const Outcome& each) {
        return value(each, worse(each), "ratio") <= std::exp(bench::from_one(worst));
      }));
  for (const Outcome& outcome : outcomes) {
    if (outcome.ok() &&
        value(outcome, worse(outcome), "ratio") > std::exp(bench::from_one(worst))) {
      sentences.push_back(fmt::format(
          "{} takes up to {:.2f} times as long if it trims at each return from twice the depth.",
          outcome.subject.name, value(outcome, worse(outcome), "ratio")));
    }
  }
  say("It faults again each time: {}.",
      those(outcomes, [](const Outcome& each) { return most_faults(each) >= 1; }));
  say("More stays resident than 64 KiB + 2 d + 2 MiB: {}.",
      those(outcomes, [](const Outcome& each) {
        return resident(each) > static_cast<double>(resident_bound);
      }));
  return sentences;
}

bool takes_part(Strategy strategy) {
  return std::find(strategies_here.begin(), strategies_here.end(), strategy) !=
         strategies_here.end();
}

}  // namespace

void compare_oscillation(Session& session) {
  const std::vector<Subject> subjects = session.strategies(takes_part);
  if (subjects.empty()) {
    return;
  }
  const SideBySide found =
      measure_side_by_side(session, "oscillation", subjects, {}, session.rounds(40, 4));
  for (const Outcome& outcome : found.outcomes) {
    add_rows(session, outcome);
  }
  session.print_title("OSCILLATION",
                      fmt::format("Code at one depth of a stack of {} goes down to another, writes "
                                  "to each cache line on the way, comes back, "
                                  "and calls trim_current(), or does not. Medians of rounds in "
                                  "which all take turns, each time on a fresh "
                                  "stack, whose first two cycles are not in the time.",
                                  in_units(reserve)));
  session.print(table_of(found.outcomes));
  if (found.any_ok()) {
    session.print_sentences({fmt::format(
        "Resident after an excursion to {}, back at {} (d) and trimmed:", in_units(excursion),
        in_units(across_huge.from))});
    session.print(resident_table(found.outcomes));
    session.print_sentences(what_to_see(found.outcomes));
  }
}

}  // namespace growstack::compare
