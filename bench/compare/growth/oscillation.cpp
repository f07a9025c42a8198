// What does it cost to give memory back at each return, on a stack whose depth swings?
#include "growth/depths.hpp"
#include "parts/clock.hpp"
#include "parts/descent.hpp"
#include "parts/memory.hpp"
#include "run/measurement.hpp"
#include "run/turns.hpp"

#include <growstack/growstack.hpp>

#include <array>
#include <system_error>

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

// ---- in the child -------------------------------------------------------------------------------

/// A subject that trims at each return or never. It never trims under two names, because how far
/// these two are apart is what differences are worth.
struct Swinger : Contender {
  bool trims;
  std::vector<double> faults{};  // a cycle
};

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

/// Uses a stack of its own each time, because it makes a difference in the caches which memory that
/// gets. The first cycles are not timed: a stack that swings does once what they do.
void time_cycles(Swinger& swinger, const Swing& swing) {
  constexpr unsigned first_cycles = 2;
  bench::touch_and_free(swing.to, pages_taken_by(swinger.subject, swing.to));
  Stack stack(
      {.reserve = reserve, .strategy = strategy_named(swinger.subject), .name = "oscillation"});
  const std::uintptr_t base = bench::address_of(stack.base());
  const auto at_depth = [&] {
    run_cycles(base - swing.to, swinger.trims, first_cycles);
    const std::uint64_t faults_before = stack.counters().growth_faults;
    const auto before = bench::Clock::now();
    run_cycles(base - swing.to, swinger.trims, swing.cycles);
    swinger.nanoseconds.push_back(bench::nanoseconds_since(before) / swing.cycles);
    const std::uint64_t faults = stack.counters().growth_faults - faults_before;
    swinger.faults.push_back(static_cast<double>(faults) / swing.cycles);
  };
  call(stack, [&] { bench::descend(base - swing.from, at_depth); });
}

std::size_t resident_after_excursion(const std::string& subject) {
  Stack stack({.reserve = reserve, .strategy = strategy_named(subject), .name = "excursion"});
  const std::uintptr_t base = bench::address_of(stack.base());
  std::size_t resident = 0;
  const auto at_depth = [&] {
    bench::descend_writing(base - excursion);
    trim_here();
    resident = stack.resident();
  };
  call(stack, [&] { bench::descend(base - across_huge.from, at_depth); });
  return resident;
}

nlohmann::json result_of(const Swinger& trims, const Swinger& never, const Swinger& never_too) {
  nlohmann::json result{{"trims_ns", bench::median(trims.nanoseconds)},
                        {"never_ns", bench::median(never.nanoseconds)},
                        {"faults", bench::median(trims.faults)}};
  set(result, "ratio", bench::median_ratio(trims.nanoseconds, never.nanoseconds));
  set(result, "noise", bench::median_ratio(never_too.nanoseconds, never.nanoseconds));
  return result;
}

/// Answers for each name {swing: {"trims_ns", "never_ns", "ratio", "noise", "faults"}, ...,
/// "resident"} or {"refusal"}.
nlohmann::json measure(const nlohmann::json& request, Progress& progress) {
  const std::vector<std::string> subjects = request.at("subjects");
  Rounds rounds(progress);
  Results results;
  bench::warm_memory(reserve);
  for (const Swing& swing : swings) {
    std::vector<Swinger> swingers;
    for (const std::string& subject : subjects) {
      swingers.push_back({{subject, subject}, true});
      swingers.push_back({{subject, subject}, false});
      swingers.push_back({{subject, subject}, false});
    }
    rounds.run(request.at("rounds"), fmt::format("oscillation: to {},", in_units(swing.to)),
               swingers, [&](Swinger& swinger) { time_cycles(swinger, swing); });
    for (const Swinger& each : swingers) {
      if (!each.refusal.empty()) {
        results.of(each)["refusal"] = each.refusal;
      }
    }
    for (auto each = swingers.begin(); each != swingers.end(); each += 3) {
      results.of(*each)[swing.name] = result_of(each[0], each[1], each[2]);
    }
  }
  for (const std::string& subject : subjects) {
    try {
      results.of({subject, subject})["resident"] = resident_after_excursion(subject);
    } catch (const std::exception& error) {
      results.of({subject, subject})["refusal"] = error.what();
    }
  }
  return results.all();
}

// ---- in the parent ------------------------------------------------------------------------------

std::string path(const Swing& swing, const char* member) {
  return std::string(swing.name) + "/" + member;
}

/// Returns the larger of the figures for the two swings by a factor of two.
std::optional<double> larger(const Outcome& its, const char* member) {
  return std::max(its.number(path(across_huge, member)), its.number(path(shallow, member)));
}

/// Returns the resident bytes after the excursion, relative to what may stay resident.
std::optional<double> resident_ratio(const Outcome& its) {
  const auto resident = its.number("resident");
  return resident ? std::optional(*resident / static_cast<double>(resident_bound)) : std::nullopt;
}

std::string there_and_back(const Swing& swing) {
  return fmt::format("from {} to {} and back", in_units(swing.from), in_units(swing.to));
}

std::vector<Row> rows(const Outcome& its, const Outcomes&) {
  const auto ratio = larger(its, "ratio");
  const Swing& worse = ratio == its.number(path(across_huge, "ratio")) ? across_huge : shallow;
  const auto resident = static_cast<std::uint64_t>(its.number("resident").value_or(0));
  return {
      {.metric = "oscillate_ratio",
       .value = ratio,
       .unit = "ratio",
       .note = fmt::format("{}, trim_current() each time to never: the worse of two depths",
                           there_and_back(worse))},
      {.metric = "oscillate_faults",
       .value = larger(its, "faults"),
       .unit = "faults",
       .note = "growth faults of ours a cycle, the larger of the two depths"},
      {.metric = "oscillate_resident_ratio",
       .value = resident_ratio(its),
       .unit = "ratio",
       .note = fmt::format("{} resident after {} and back to {}, to 64 KiB + 2 d + 2 MiB",
                           in_units(resident), in_units(excursion), in_units(across_huge.from))},
      {.metric = "oscillate_far_ratio",
       .value = its.number(path(far_down, "ratio")),
       .unit = "ratio",
       .note = there_and_back(far_down) +
               ", trim_current() each time to never: no aim, for the reader"}};
}

Table table(const Outcomes& all) {
  Table table({"us a cycle", "never trims", "trims", "never = 1", "faults of ours"});
  for (const Swing& swing : swings) {
    add_lines(table, all, there_and_back(swing), [&](const Outcome& its) -> Cells {
      constexpr double nanoseconds_per_us = 1000;
      return {its.cell(path(swing, "never_ns"), short_number, nanoseconds_per_us),
              its.cell(path(swing, "trims_ns"), short_number, nanoseconds_per_us),
              its.cell(path(swing, "ratio"), decimals<2>),
              its.cell(path(swing, "faults"), decimals<1>)};
    });
  }
  add_lines(table, all,
            fmt::format("KiB resident after an excursion to {}, back at {} (d) and trimmed; "
                        "64 KiB + 2 d + 2 MiB = 1",
                        in_units(excursion), in_units(across_huge.from)),
            [](const Outcome& its) -> Cells {
              return {"", its.cell("resident", grouped, kibibyte),
                      cell(resident_ratio(its), decimals<2>), ""};
            });
  add_failures(table, all);
  return table;
}

std::vector<std::string> remarks(const Outcomes& all) {
  double worst = 1;
  for (const Outcome& outcome : all) {
    for (const Swing& swing : swings) {
      const double noise = outcome.number(path(swing, "noise")).value_or(1);
      worst = bench::from_one(noise) > bench::from_one(worst) ? noise : worst;
    }
  }
  return {noise_sentence("a stack that never trims", worst)};
}

std::string what() {
  return fmt::format(
      "Code at one depth of a stack of {} goes down to another, writes to each cache line on the "
      "way, comes back, and calls trim_current(), or does not. The figures are medians of rounds "
      "in which all take turns, each time on a fresh stack, whose first two cycles are not timed.",
      in_units(reserve));
}

std::vector<Aim> aims() {
  return {{.title = "trims while it swings, never trims = 1",
           .figure = value_of("oscillate_ratio"),
           .noise = noise_in(std::string(name(baseline)), "grow_ratio_again_64MiB"),
           .handlers = 1.2,
           .helper = 1.2},
          {.title = "resident after that, most allowed = 1",
           .figure = value_of("oscillate_resident_ratio"),
           .handlers = 1.0,
           .helper = 1.0}};
}

const Registered oscillation(
    {.name = "oscillation",
     .group = "growth",
     .title = "OSCILLATION",
     .what = what,
     .subjects = [](const Session& session) { return session.strategies(trims_safely); },
     .ask = ask_together,
     .measure = measure,
     .rows = rows,
     .table = table,
     .remarks = remarks,
     .aims = aims,
     .rounds = 40,
     .quick_rounds = 4});

}  // namespace
}  // namespace growstack::compare
