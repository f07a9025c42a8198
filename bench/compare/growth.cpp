// Growth: how long until a fresh stack has reached a depth, beside demand paging.
#include "group.hpp"

#include "child.hpp"
#include "parts/descent.hpp"
#include "parts/memory.hpp"
#include "parts/samples.hpp"

#include <growstack/growstack.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <numeric>
#include <random>
#include <utility>

namespace growstack::compare {
namespace {

struct Depth {
  const char* label;  // of metrics
  std::size_t bytes;
  unsigned fewer;  // rounds than at the shallow depths, by this factor
};

constexpr std::size_t kibibyte = 1024;
constexpr std::size_t mebibyte = 1024 * kibibyte;
constexpr std::array depths{Depth{"16KiB", 16 * kibibyte, 1},   Depth{"64KiB", 64 * kibibyte, 1},
                            Depth{"256KiB", 256 * kibibyte, 1}, Depth{"1MiB", 1 * mebibyte, 1},
                            Depth{"2MiB", 2 * mebibyte, 1},     Depth{"16MiB", 16 * mebibyte, 4},
                            Depth{"64MiB", 64 * mebibyte, 4}};

/// Room beyond the depth, so that nothing ends there.
constexpr std::size_t beyond = 256 * kibibyte;
constexpr std::size_t deepest_reserve = 64 * mebibyte + beyond;

/// The baseline a second time, as if it were another strategy: how far the two are apart is what the figures are worth.
const std::string again_name = std::string(name(baseline)) + "_again";

unsigned rounds_at(const Depth& depth, unsigned rounds) { return std::max(1U, rounds / depth.fewer); }

// ---- in the child ----

struct Contender {
  std::string name;
  Strategy strategy;
  std::vector<double> nanoseconds{};
  std::uint32_t faults = 0;
  std::string refusal{};
};

/// One fresh stack to the depth, in nanoseconds. Making and releasing it is not in the time; the switch to it neither.
double grow_once(Contender& contender, std::size_t bytes) {
  Stack stack({.reserve = bytes + beyond, .strategy = contender.strategy, .name = "growth"});
  const std::uintptr_t lowest = reinterpret_cast<std::uintptr_t>(stack.base()) - bytes;
  bench::touch_and_free(bytes);
  const auto taken = call(stack, [&] {
    const auto before = std::chrono::steady_clock::now();
    bench::descend(lowest);
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - before);
  });
  contender.faults = stack.counters().growth_faults;
  return taken.count();
}

/// Shallow stacks by the dozen: the kernel puts off work and does it every few dozen pages, which a single shallow stack
/// meets or does not, and a median of such times jumps.
unsigned stacks_per_sample(std::size_t bytes) {
  constexpr std::size_t enough = 1 * mebibyte;
  constexpr std::size_t most = 16;
  return static_cast<unsigned>(std::clamp<std::size_t>(enough / bytes, 1, most));
}

void try_growing(Contender& contender, std::size_t bytes, bool counts) {
  if (!contender.refusal.empty()) {
    return;
  }
  try {
    const unsigned stacks = stacks_per_sample(bytes);
    double sum = 0;
    for (unsigned each = 0; each < stacks; ++each) {
      sum += grow_once(contender, bytes);
    }
    if (counts) {
      contender.nanoseconds.push_back(sum / stacks);
    }
  } catch (const std::exception& error) {
    contender.refusal = error.what();
  }
}

/// Everybody's turn, in another order each round: with a fixed rotation somebody would always run after the same neighbour,
/// and find the kernel's lists of free pages as that one leaves them.
void run_round(std::vector<Contender>& contenders, std::size_t bytes, std::mt19937& order) {
  std::vector<std::size_t> turns(contenders.size());
  std::iota(turns.begin(), turns.end(), std::size_t{0});
  std::shuffle(turns.begin(), turns.end(), order);
  for (const std::size_t turn : turns) {
    try_growing(contenders[turn], bytes, true);
  }
}

/// The median of the rounds' own ratios: a machine that is slower for a while is so for both.
std::optional<double> ratio_between(const std::vector<double>& times, const std::vector<double>& base) {
  if (times.empty() || times.size() != base.size()) {
    return std::nullopt;
  }
  std::vector<double> ratios(times.size());
  std::transform(times.begin(), times.end(), base.begin(), ratios.begin(), std::divides<>());
  return bench::median(ratios);
}

nlohmann::json result_of(const Contender& contender, const Contender& base) {
  if (!contender.refusal.empty()) {
    return {{"refusal", contender.refusal}};
  }
  nlohmann::json result{{"ns", bench::median(contender.nanoseconds)}, {"faults", contender.faults}};
  if (const auto ratio = ratio_between(contender.nanoseconds, base.nanoseconds)) {
    result["ratio"] = *ratio;
  }
  return result;
}

}  // namespace

/// {"subjects": [...], "rounds": n} to {subject: {depth: {"ns", "faults", "ratio"} or {"refusal"}}}. The baseline is one of
/// them.
nlohmann::json measure_growth(const nlohmann::json& request, Progress& progress) {
  bench::raise_stack_limit(deepest_reserve);
  const unsigned rounds = request.at("rounds");
  std::mt19937 order;  // the same orders every time
  nlohmann::json results;
  for (const Depth& depth : depths) {
    std::vector<Contender> contenders;
    for (const std::string name : request.at("subjects")) {
      contenders.push_back({.name = name, .strategy = name == again_name ? baseline : strategy_named(name)});
    }
    bench::warm_memory(2 * deepest_reserve);
    for (Contender& contender : contenders) {
      try_growing(contender, depth.bytes, false);
    }
    const unsigned rounds_here = rounds_at(depth, rounds);
    for (unsigned round = 0; round < rounds_here; ++round) {
      progress.say(fmt::format("growth: {:>6} deep, {} rounds,", depth.label, rounds_here), round, rounds_here);
      run_round(contenders, depth.bytes, order);
    }
    const auto base = std::find_if(contenders.begin(), contenders.end(),
                                   [](const Contender& each) { return each.name == name(baseline); });
    for (const Contender& contender : contenders) {
      results[contender.name][depth.label] = result_of(contender, *base);
    }
  }
  return results;
}

namespace {

// ---- in the parent ----

std::vector<std::string> metrics() {
  std::vector<std::string> all;
  for (const Depth& depth : depths) {
    for (const char* const kind : {"grow_ratio_", "grow_us_", "grow_faults_"}) {
      all.push_back(std::string(kind) + depth.label);
    }
  }
  all.emplace_back("grow_ratio_noise");
  return all;
}

/// One subject at one depth.
struct Cell {
  std::optional<double> nanoseconds{};
  std::optional<double> faults{};
  std::optional<double> ratio{};
  std::string refusal{};
};

/// What is known of all subjects: by name and depth, or why there is nothing.
struct Findings {
  std::map<std::string, std::map<std::string, Cell>> cells{};
  std::vector<std::pair<std::string, std::string>> failures{};

  [[nodiscard]] bool has(const std::string& subject) const { return cells.contains(subject); }
  [[nodiscard]] Cell at(const std::string& subject, const char* depth) const {
    const auto found = cells.find(subject);
    return found == cells.end() ? Cell{} : found->second.at(depth);
  }
  [[nodiscard]] std::optional<double> microseconds(const std::string& subject, const char* depth) const {
    const auto nanoseconds = at(subject, depth).nanoseconds;
    return nanoseconds ? std::optional(*nanoseconds / 1000) : std::nullopt;
  }
  [[nodiscard]] std::optional<double> ratio(const std::string& subject, const char* depth) const {
    return at(subject, depth).ratio;
  }

  void take(const nlohmann::json& results) {
    for (const auto& [subject, by_depth] : results.items()) {
      for (const auto& [depth, result] : by_depth.items()) {
        Cell& cell = cells[subject][depth];
        if (result.contains("refusal")) {
          cell.refusal = result.at("refusal").get<std::string>();
        } else {
          cell.nanoseconds = result.at("ns").get<double>();
          cell.faults = result.at("faults").get<double>();
          cell.ratio = result.contains("ratio") ? std::optional(result.at("ratio").get<double>()) : std::nullopt;
        }
      }
    }
  }
};

Answer ask(const Session& session, const std::vector<std::string>& names) {
  constexpr unsigned full = 201;
  constexpr unsigned quick = 31;
  return ask_child("growth", {{"subjects", names}, {"rounds", session.rounds(full, quick)}}, session.progress());
}

/// All in one process, interleaved. Should that die, each beside the baseline in a process of its own, so that only the one
/// which dies is lost.
Findings measure_together(const Session& session, const std::vector<std::string>& names) {
  const std::vector<std::string> always{std::string(name(baseline)), again_name};
  const auto beside_baseline = [&](std::vector<std::string> others) {
    others.insert(others.end(), always.begin(), always.end());
    return others;
  };
  Findings findings;
  const Answer together = ask(session, beside_baseline(names));
  if (together.failure.empty()) {
    findings.take(together.result);
    return findings;
  }
  for (const std::string& name : names) {
    const Answer alone = ask(session, beside_baseline({name}));
    if (alone.failure.empty()) {
      findings.take(alone.result);
    } else {
      findings.failures.emplace_back(name, alone.whole_failure());
    }
  }
  return findings;
}

/// The A/A ratio that is farthest from 1, and where.
std::pair<double, std::string> noise(const Findings& findings) {
  std::pair<double, std::string> worst{1.0, ""};
  for (const Depth& depth : depths) {
    const double ratio = findings.ratio(again_name, depth.label).value_or(1.0);
    if (worst.second.empty() || std::abs(std::log(ratio)) > std::abs(std::log(worst.first))) {
      worst = {ratio, depth.label};
    }
  }
  return worst;
}

void add_rows(Session& session, const Findings& findings, const Subject& subject) {
  const std::string limit_note = stack_limit_note(subject, deepest_reserve);
  for (const Depth& depth : depths) {
    const Cell cell = findings.at(subject.name, depth.label);
    const auto add = [&](const char* kind, std::optional<double> value, const char* unit) {
      session.add({.subject = subject.name,
                   .metric = std::string(kind) + depth.label,
                   .value = value,
                   .unit = unit,
                   .note = cell.refusal.empty() ? limit_note : cell.refusal});
    };
    add("grow_ratio_", findings.ratio(subject.name, depth.label), "ratio");
    add("grow_us_", findings.microseconds(subject.name, depth.label), "us");
    add("grow_faults_", cell.faults, "faults");
  }
  const auto [worst, where] = noise(findings);
  session.add({.subject = subject.name,
               .metric = "grow_ratio_noise",
               .value = worst,
               .unit = "ratio",
               .note = fmt::format("demand_paging measured twice: of all depths the ratio farthest from 1, at {}", where)});
}

std::string cell(const std::optional<double>& value, std::string (*format)(double)) { return value ? format(*value) : "-"; }

template <class ValueAt>
void add_line(Table& table, const std::string& title, const ValueAt& value_at, std::string (*format)(double)) {
  std::vector<std::string> cells{"  " + title};
  for (const Depth& depth : depths) {
    cells.push_back(cell(value_at(depth.label), format));
  }
  table.add(std::move(cells));
}

Table table_of(const Findings& findings, const std::vector<std::string>& names) {
  std::vector<std::string> titles{"depth"};
  for (const Depth& depth : depths) {
    titles.push_back(in_units(depth.bytes));
  }
  Table table(std::move(titles), 1);
  const auto section = [&](const char* heading, const auto& value, std::string (*format)(double)) {
    table.add_heading(heading);
    for (const std::string& name : names) {
      if (findings.has(name)) {
        add_line(
            table, name, [&](const char* depth) { return value(name, depth); }, format);
      }
    }
  };
  section(
      "time, us", [&](const std::string& name, const char* depth) { return findings.microseconds(name, depth); },
      short_number);
  section(
      "time, demand_paging = 1", [&](const std::string& name, const char* depth) { return findings.ratio(name, depth); },
      [](double ratio) { return fmt::format("{:.2f}", ratio); });
  section(
      "growth faults of ours", [&](const std::string& name, const char* depth) { return findings.at(name, depth).faults; },
      grouped);
  return table;
}

std::string in_percent(double ratio) { return fmt::format("{:.1f} %", 100 * std::abs(ratio - 1)); }

/// "x takes 1.31 times as long as demand_paging at 1 MiB and 1.05 times at 64 MiB."
std::string ratio_sentence(const Findings& findings, const std::string& name, double worst_noise) {
  const auto near = findings.ratio(name, "1MiB");
  const auto far = findings.ratio(name, depths.back().label);
  if (!near || !far) {
    return {};
  }
  const bool is_noise = std::abs(*far - 1) <= std::abs(worst_noise - 1);
  return fmt::format("{} takes {:.2f} times as long as {} at 1 MiB and {:.2f} times at {}{}.", name, *near,
                     growstack::name(baseline), *far, in_units(depths.back().bytes),
                     is_noise ? ", which is no more than noise" : "");
}

/// Why there is no figure, if so.
std::string refusal_sentence(const Findings& findings, const std::string& name) {
  std::vector<std::string> where;
  std::string why;
  for (const Depth& depth : depths) {
    const std::string refusal = findings.at(name, depth.label).refusal;
    if (!refusal.empty()) {
      where.push_back(in_units(depth.bytes));
      why = refusal;
    }
  }
  return where.empty() ? "" : fmt::format("{} has no stack for {}: {}.", name, listed(where), why);
}

std::vector<std::string> what_to_see(const Findings& findings, const std::vector<std::string>& names) {
  const auto [worst, where] = noise(findings);
  std::vector<std::string> sentences{
      fmt::format("Measured twice, {} differs from itself by up to {} (at {}): smaller differences mean nothing.",
                  name(baseline), in_percent(worst), where)};
  for (const std::string& each : names) {
    if (each != again_name && each != name(baseline) && findings.has(each)) {
      sentences.push_back(ratio_sentence(findings, each, worst));
    }
  }
  for (const std::string& each : names) {
    sentences.push_back(refusal_sentence(findings, each));
  }
  return sentences;
}

}  // namespace

void compare_growth(Session& session) {
  std::vector<std::string> names;
  for (const Subject& subject : session.strategies()) {
    if (!subject.unsupported.empty()) {
      session.add_missing(subject.name, metrics(), subject.unsupported);
    } else if (subject.strategy != baseline) {
      names.push_back(subject.name);
    }
  }
  if (session.strategies().empty()) {
    return;
  }
  session.progress().say("growth");
  const Findings findings = measure_together(session, names);
  for (const Subject& subject : session.strategies()) {
    if (findings.has(subject.name)) {
      add_rows(session, findings, subject);
    }
  }
  for (const auto& [name, reason] : findings.failures) {
    session.add_missing(name, metrics(), reason);
  }
  names.emplace_back(name(baseline));
  names.push_back(again_name);
  session.print_title("GROWTH",
                      "How long a fresh stack takes to a depth, touched page by page by the code that runs on it. "
                      "Medians of rounds that measure all of them in turn, of their times and of their ratios; "
                      "making the stack is not in the time.");
  Table table = table_of(findings, names);
  for (const auto& [name, reason] : findings.failures) {
    table.add_sentence({name}, reason);
  }
  session.print(table);
  session.print_sentences(what_to_see(findings, names));
}

}  // namespace growstack::compare
