// Growth: how long until a fresh stack has reached a depth, beside demand paging.
#include "growth.hpp"
#include "group.hpp"

#include "child.hpp"

#include <fmt/format.h>

#include <cmath>
#include <map>
#include <optional>
#include <utility>

namespace growstack::compare {
namespace {

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
  if (!findings.has(always.front())) {
    findings.failures.emplace_back(always.front(), together.whole_failure());
  }
  return findings;
}

/// The A/A ratio that is farthest from 1, and where.
struct Noise {
  double ratio = 1;
  const Depth* where = nullptr;  // none: not measured
};

Noise noise(const Findings& findings) {
  Noise worst;
  for (const Depth& depth : depths) {
    const auto ratio = findings.ratio(again_name, depth.label);
    if (ratio && (worst.where == nullptr || std::abs(std::log(*ratio)) > std::abs(std::log(worst.ratio)))) {
      worst = {*ratio, &depth};
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
  const Noise worst = noise(findings);
  session.add({.subject = subject.name,
               .metric = "grow_ratio_noise",
               .value = worst.where != nullptr ? std::optional(worst.ratio) : std::nullopt,
               .unit = "ratio",
               .note = worst.where != nullptr
                           ? fmt::format("{} measured twice: of all depths the ratio farthest from 1, at {}", name(baseline),
                                         in_units(worst.where->bytes))
                           : "not measured"});
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
  const Noise worst = noise(findings);
  std::vector<std::string> sentences;
  if (worst.where != nullptr) {
    sentences.push_back(
        fmt::format("Measured twice, {} differs from itself by up to {} (at {}): smaller differences mean nothing.",
                    name(baseline), in_percent(worst.ratio), in_units(worst.where->bytes)));
  }
  for (const std::string& each : names) {
    if (each != again_name && each != name(baseline) && findings.has(each)) {
      sentences.push_back(ratio_sentence(findings, each, worst.ratio));
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
