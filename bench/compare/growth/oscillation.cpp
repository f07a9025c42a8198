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
#include <tuple>

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

/// Answers for each name {swing: {"trims_ns", "never_ns", "ratio", "noise", "faults"}, ...,
/// "resident", "resident_ratio"} or {"refusal"}.
nlohmann::json measure(const nlohmann::json& request, Progress& progress) {
  const std::vector<std::string> subjects = request.at("subjects");
  Turns turns(progress);
  Results results;
  bench::warm_memory(reserve);
  for (const Swing& swing : swings) {
    std::vector<Swinger> all;
    for (const std::string& subject : subjects) {
      for (const bool trims : {true, false, false}) {
        all.push_back({{subject, subject}, trims});
      }
    }
    turns.take(request.at("rounds"), fmt::format("oscillation: to {},", in_units(swing.to)), all,
               [&](Swinger& swinger) { time_cycles(swinger, swing); });
    for (std::size_t first = 0; first < all.size(); first += 3) {
      const auto& [trims, never, never_too] = std::tie(all[first], all[first + 1], all[first + 2]);
      nlohmann::json& result = results.of(trims)[swing.name];
      result = {{"trims_ns", bench::median(trims.nanoseconds)},
                {"never_ns", bench::median(never.nanoseconds)},
                {"faults", bench::median(trims.faults)}};
      set(result, "ratio", bench::median_ratio(trims.nanoseconds, never.nanoseconds));
      set(result, "noise", bench::median_ratio(never_too.nanoseconds, never.nanoseconds));
    }
    results.add_refusals(all);
  }
  auto all = contenders(subjects);
  turns.take(1, "oscillation: an excursion", all, [&](Contender& each) {
    const auto resident = static_cast<double>(resident_after_excursion(each.subject));
    results.of(each)["resident"] = resident;
    results.of(each)["resident_ratio"] = resident / static_cast<double>(resident_bound);
  });
  results.add_refusals(all);
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

std::string there_and_back(const Swing& swing) {
  return fmt::format("from {} to {} and back", in_units(swing.from), in_units(swing.to));
}

std::vector<Row> rows(const Outcome& its, const Outcomes&) {
  const auto ratio = larger(its, "ratio");
  const Swing& worse = ratio == its.number(path(across_huge, "ratio")) ? across_huge : shallow;
  return {its.row("oscillate_ratio", ratio, "ratio",
                  there_and_back(worse) +
                      ", trim_current() each time to never: the worse of two depths"),
          its.row("oscillate_faults", larger(its, "faults"), "faults",
                  "growth faults of ours a cycle, the larger of the two depths"),
          its.row("oscillate_resident_ratio", "resident_ratio", "ratio",
                  fmt::format("{} bytes resident after {} and back to {}, to 64 KiB + 2 d + 2 MiB",
                              its.cell("resident", grouped), in_units(excursion),
                              in_units(across_huge.from))),
          its.row("oscillate_far_ratio", path(far_down, "ratio").c_str(), "ratio",
                  there_and_back(far_down) + ", trim_current() each time to never; it has no aim")};
}

constexpr double nanoseconds_per_us = 1000;
constexpr std::array columns{Column{"", "never_ns", short_number, nanoseconds_per_us},
                             Column{"", "trims_ns", short_number, nanoseconds_per_us},
                             Column{"", "ratio", decimals<2>}, Column{"", "noise", decimals<2>},
                             Column{"", "faults", decimals<1>}};
constexpr std::array excursion_columns{Column{"", "-"}, Column{"", "resident", grouped, kibibyte},
                                       Column{"", "resident_ratio", decimals<2>}, Column{"", "-"},
                                       Column{"", "-"}};

Table table(const Outcomes& all) {
  Table table({"us a cycle", "never trims", "trims", "never = 1", "never again", "faults of ours"});
  for (const Swing& swing : swings) {
    add_section(table, all, there_and_back(swing), columns, path(swing, ""));
  }
  add_section(table, all,
              fmt::format("KiB resident after an excursion to {}, back at {} (d) and trimmed; "
                          "64 KiB + 2 d + 2 MiB = 1",
                          in_units(excursion), in_units(across_huge.from)),
              excursion_columns);
  return table;
}

const Registered registered(
    {.name = "oscillation",
     .group = "growth",
     .title = "OSCILLATION",
     .what =
         "Code at one depth of a stack of 64 MiB goes down to another, writes to each cache line "
         "on the way, comes back, and calls trim_current(), or does not. The figures are medians "
         "of rounds in which all take turns, each time on a fresh stack, whose first two cycles "
         "are not timed.",
     .subjects = [](const Session& session) { return session.strategies(trims_safely); },
     .rounds = {40, 4},
     .measure = measure,
     .rows = rows,
     .table = table,
     .aims = []() -> std::vector<Aim> {
       return {{"trims while it swings, never trims = 1", value_of("oscillate_ratio"), for_all(1.2),
                noise_in(std::string(name(baseline)), "grow_ratio_again_64MiB")},
               {"resident after that, most allowed = 1", value_of("oscillate_resident_ratio"),
                for_all(1.0)}};
     }});

}  // namespace
}  // namespace growstack::compare
