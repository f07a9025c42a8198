// Growth: how long until a fresh stack has reached a depth, beside demand paging.
#include "growth.hpp"
#include "group.hpp"

#include "child.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
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
          cell.faults = result.contains("faults") ? std::optional(result.at("faults").get<double>()) : std::nullopt;
          cell.ratio = result.contains("ratio") ? std::optional(result.at("ratio").get<double>()) : std::nullopt;
        }
      }
    }
  }
};

unsigned rounds(const Session& session) {
  constexpr unsigned full = 101;
  constexpr unsigned quick = 12;
  return session.rounds(full, quick);
}

Answer ask(const Session& session, const std::vector<std::string>& names) {
  return ask_child("growth", {{"subjects", names}, {"rounds", rounds(session)}}, session.progress());
}

/// All in one process, interleaved. Should that die, each beside the baseline in a process of its own, so that only the one
/// which dies is lost.
void measure_together(const Session& session, const std::vector<std::string>& names, Findings& findings) {
  const std::vector<std::string> always{std::string(name(baseline)), again_name};
  const auto beside_baseline = [&](std::vector<std::string> others) {
    others.insert(others.end(), always.begin(), always.end());
    return others;
  };
  const Answer together = ask(session, beside_baseline(names));
  if (together.failure.empty()) {
    findings.take(together.result);
    return;
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
}

/// A program of its own, which measures the same calls with split stacks and without.
void measure_split_stack(const Session& session, Findings& findings) {
  const Answer answer = ask_child("split_stack", {{"task", "growth"}, {"rounds", rounds(session)}}, session.progress());
  const std::string name(split_stack_name);
  if (answer.failure.empty()) {
    findings.take({{name, answer.result}});
  } else {
    findings.failures.emplace_back(name, answer.whole_failure());
  }
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

constexpr const char* no_faults_of_ours = "it has no faults";
constexpr std::string_view split_stack_note =
    "calls with frames of 200 bytes; the ratio is to the same calls without split stacks on demand_paging";

void add_rows(Session& session, const Findings& findings, const Subject& subject) {
  const std::string note =
      subject.name == split_stack_name ? std::string(split_stack_note) : stack_limit_note(subject, deepest_reserve);
  for (const Depth& depth : depths) {
    const Cell cell = findings.at(subject.name, depth.label);
    const auto add = [&](const char* kind, std::optional<double> value, const char* unit) {
      session.add({.subject = subject.name,
                   .metric = std::string(kind) + depth.label,
                   .value = value,
                   .unit = unit,
                   .note = !cell.refusal.empty() ? cell.refusal
                           : value               ? note
                                                 : no_faults_of_ours});
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

using ValueAt = std::function<std::optional<double>(const std::string& name, const char* depth)>;

std::vector<std::string> line(const std::string& name, const ValueAt& value_at, std::string (*format)(double)) {
  std::vector<std::string> cells{"  " + name};
  for (const Depth& depth : depths) {
    cells.push_back(cell(value_at(name, depth.label), format));
  }
  return cells;
}

bool had_faults_of_ours(const Findings& findings, const std::string& name) {
  return findings.at(name, depths.back().label).faults.value_or(0) > 0;
}

Table table_of(const Findings& findings, const std::vector<std::string>& names) {
  std::vector<std::string> titles{"depth"};
  for (const Depth& depth : depths) {
    titles.push_back(in_units(depth.bytes));
  }
  Table table(std::move(titles), 1);
  const auto section = [&](const char* heading, const ValueAt& value_at, std::string (*format)(double),
                           bool (*belongs)(const Findings&, const std::string&)) {
    table.add_heading(heading);
    for (const std::string& name : names) {
      if (belongs(findings, name)) {
        table.add(line(name, value_at, format));
      }
    }
  };
  const auto everybody = [](const Findings& all, const std::string& name) { return all.has(name); };
  section(
      "time, us", [&](const std::string& name, const char* depth) { return findings.microseconds(name, depth); },
      short_number, everybody);
  section(
      "time, demand_paging = 1", [&](const std::string& name, const char* depth) { return findings.ratio(name, depth); },
      [](double ratio) { return fmt::format("{:.2f}", ratio); }, everybody);
  if (std::any_of(names.begin(), names.end(), [&](const std::string& name) { return had_faults_of_ours(findings, name); })) {
    section(
        "growth faults of ours; the others have none",
        [&](const std::string& name, const char* depth) { return findings.at(name, depth).faults; }, grouped,
        had_faults_of_ours);
  }
  return table;
}

std::string in_percent(double ratio) { return fmt::format("{:.1f} %", 100 * std::abs(ratio - 1)); }

bool is_noise(double ratio, const Noise& noise) { return std::abs(std::log(ratio)) <= std::abs(std::log(noise.ratio)); }

/// "x takes 1.31 times as long as demand_paging at 1 MiB and 1.05 times at 64 MiB."; nothing for one that is no different.
std::string ratio_sentence(const Findings& findings, const std::string& name, const Noise& noise) {
  const auto near = findings.ratio(name, "1MiB");
  const auto far = findings.ratio(name, depths.back().label);
  if (!near || !far || (is_noise(*near, noise) && is_noise(*far, noise))) {
    return {};
  }
  return fmt::format("{} takes {:.2f} times as long at 1 MiB and {:.2f} times at {}{}.", name, *near, *far,
                     in_units(depths.back().bytes), is_noise(*far, noise) ? ", which is no more than noise" : "");
}

std::string indifferent_sentence(const Findings& findings, const std::vector<std::string>& names, const Noise& noise) {
  std::vector<std::string> indifferent;
  for (const std::string& name : names) {
    if (findings.ratio(name, depths.back().label) && ratio_sentence(findings, name, noise).empty()) {
      indifferent.push_back(name);
    }
  }
  return indifferent.empty() ? ""
                             : fmt::format("By no more than that do these differ from {} at 1 MiB and at {}: {}.",
                                           growstack::name(baseline), in_units(depths.back().bytes), listed(indifferent));
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
  std::vector<std::string> others;
  std::copy_if(names.begin(), names.end(), std::back_inserter(others),
               [](const std::string& each) { return each != again_name && each != name(baseline); });
  sentences.push_back(indifferent_sentence(findings, others, worst));
  for (const std::string& each : others) {
    sentences.push_back(ratio_sentence(findings, each, worst));
  }
  for (const std::string& each : others) {
    sentences.push_back(refusal_sentence(findings, each));
  }
  if (findings.has(std::string(split_stack_name))) {
    sentences.push_back(fmt::format("{}: {}.", split_stack_name, split_stack_note));
  }
  return sentences;
}

/// Those asked for, and why some have no figures.
Findings measure(Session& session, const std::vector<Subject>& subjects) {
  std::vector<std::string> together;
  Findings findings;
  for (const Subject& subject : subjects) {
    if (!subject.unsupported.empty()) {
      findings.failures.emplace_back(subject.name, subject.unsupported);
    } else if (subject.makes_stacks && subject.strategy != baseline) {
      together.push_back(subject.name);
    }
  }
  session.progress().say("growth");
  measure_together(session, together, findings);
  const std::optional<Subject> split_stack = session.peer(split_stack_name);
  if (split_stack && split_stack->unsupported.empty()) {
    session.progress().say("growth: split_stack");
    measure_split_stack(session, findings);
  }
  return findings;
}

/// The baseline last, and once more.
std::vector<std::string> in_order(const std::vector<Subject>& subjects) {
  std::vector<std::string> names;
  for (const Subject& subject : subjects) {
    if (subject.strategy != baseline) {
      names.push_back(subject.name);
    }
  }
  names.emplace_back(name(baseline));
  names.push_back(again_name);
  return names;
}

}  // namespace

void compare_growth(Session& session) {
  std::vector<Subject> subjects = session.stacks();
  if (const auto split_stack = session.peer(split_stack_name)) {
    subjects.push_back(*split_stack);
  }
  if (subjects.empty()) {
    return;
  }
  const Findings findings = measure(session, subjects);
  for (const Subject& subject : subjects) {
    if (findings.has(subject.name)) {
      add_rows(session, findings, subject);
    }
  }
  const std::vector<std::string> names = in_order(subjects);
  Table table = table_of(findings, names);
  for (const auto& [name, reason] : findings.failures) {
    session.add_missing(name, metrics(), reason);
    table.add_sentence({name}, reason);
  }
  session.print_title("GROWTH",
                      "How long a fresh stack takes to a depth, touched page by page by the code that runs on it. "
                      "Medians of rounds that measure all of them in turn, of their times and of their ratios; "
                      "making the stack is not in the time, and malloc is told to take fresh memory for each.");
  session.print(table);
  session.print_sentences(what_to_see(findings, names));
  compare_hot_call(session);
}

}  // namespace growstack::compare
