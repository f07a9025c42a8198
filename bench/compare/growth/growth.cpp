// Growth: how long until a fresh stack has reached a depth, beside demand paging.
#include "growth/depths.hpp"
#include "run/group.hpp"

#include "parts/samples.hpp"
#include "run/child.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <optional>
#include <utility>

namespace growstack::compare {
namespace {

std::string throughput_metric(const char* kind, const Depth& depth) {
  return kind + std::string(depth.label) + "_throughput";
}

std::string to_huge_metric(const Depth& depth) {
  return std::string("grow_to_huge_") + depth.label;
}

std::vector<std::string> metrics(const std::string& subject) {
  std::vector<std::string> all;
  for (const Depth& depth : depths) {
    for (const char* const kind : {"grow_ratio_", "grow_us_", "grow_faults_"}) {
      all.push_back(std::string(kind) + depth.label);
    }
    if (depth.under_throughput && grows_in_huge_pages(subject)) {
      all.push_back(throughput_metric("grow_ratio_", depth));
      all.push_back(throughput_metric("grow_us_", depth));
    }
    if (depth.beside_huge && grows_in_huge_pages(subject)) {
      all.push_back(to_huge_metric(depth));
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
  std::optional<double> to_huge{};
  std::string refusal{};
};

/// What is known of all subjects: by name and depth, or why there is nothing.
struct Findings {
  std::map<std::string, std::map<std::string, Cell>> cells{};
  std::vector<std::pair<std::string, std::string>> failures{};
  std::string why_no_huge_pages{};  // of this machine; empty if it has them

  [[nodiscard]] bool has(const std::string& subject) const { return cells.contains(subject); }
  [[nodiscard]] Cell at(const std::string& subject, const char* depth) const {
    const auto found = cells.find(subject);
    return found == cells.end() || !found->second.contains(depth) ? Cell{}
                                                                  : found->second.at(depth);
  }
  [[nodiscard]] std::optional<double> microseconds(const std::string& subject,
                                                   const char* depth) const {
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
          const auto number = [&](const char* member) {
            return result.contains(member) ? std::optional(result.at(member).get<double>())
                                           : std::nullopt;
          };
          cell.nanoseconds = number("ns");
          cell.faults = number("faults");
          cell.ratio = number("ratio");
          cell.to_huge = number("to_huge");
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
  return ask_child("growth", {{"subjects", names}, {"rounds", rounds(session)}},
                   session.progress());
}

/// All in one process, interleaved. Should that die, each beside the baseline in a process of its
/// own, so that only the one which dies is lost.
void measure_together(const Session& session, const std::vector<std::string>& names,
                      Findings& findings) {
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
  const Answer answer = ask_child("split_stack", {{"task", "growth"}, {"rounds", rounds(session)}},
                                  session.progress());
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
    if (ratio &&
        (worst.where == nullptr || bench::from_one(*ratio) > bench::from_one(worst.ratio))) {
      worst = {*ratio, &depth};
    }
  }
  return worst;
}

constexpr const char* no_faults_of_ours = "it has no faults";
constexpr std::string_view split_stack_note =
    "calls with frames of 200 bytes; the ratio is to the same calls without split stacks on "
    "demand_paging";

std::string throughput_note(const Findings& findings) {
  const std::string pages =
      findings.why_no_huge_pages.empty()
          ? fmt::format("in huge pages from {} on", in_units(GrowthPolicy::throughput().huge_from))
          : fmt::format("in small pages all the same ({})", findings.why_no_huge_pages);
  return fmt::format("under GrowthPolicy::throughput(), on a stack of at least {}, {}",
                     in_units(least_for_huge_pages), pages);
}

void add_throughput_rows(Session& session, const Findings& findings, const Subject& subject,
                         const Depth& depth) {
  const Cell cell = findings.at(throughput_name(subject.name), depth.label);
  const auto add = [&](const char* kind, std::optional<double> value, const char* unit) {
    session.add({.subject = subject.name,
                 .metric = throughput_metric(kind, depth),
                 .value = value,
                 .unit = unit,
                 .note = cell.refusal.empty() ? throughput_note(findings) : cell.refusal});
  };
  add("grow_ratio_", cell.ratio, "ratio");
  add("grow_us_", findings.microseconds(throughput_name(subject.name), depth.label), "us");
}

/// Of the ratio to demand_paging_huge, or why there is none.
std::string to_huge_note(const Findings& findings, const Cell& cell, const Depth& depth) {
  if (cell.to_huge) {
    return findings.why_no_huge_pages.empty()
               ? ""
               : fmt::format("both in small pages ({})", findings.why_no_huge_pages);
  }
  const std::string its_refusal = findings.at(huge_name, depth.label).refusal;
  return !cell.refusal.empty() ? cell.refusal
         : its_refusal.empty() ? huge_name + " did not take part in these rounds"
                               : huge_name + ": " + its_refusal;
}

void add_to_huge_row(Session& session, const Findings& findings, const Subject& subject,
                     const Depth& depth) {
  const Cell cell = findings.at(subject.name, depth.label);
  session.add({.subject = subject.name,
               .metric = to_huge_metric(depth),
               .value = cell.to_huge,
               .unit = "ratio",
               .note = to_huge_note(findings, cell, depth)});
}

void add_rows(Session& session, const Findings& findings, const Subject& subject) {
  const std::string note = subject.name == split_stack_name
                               ? std::string(split_stack_note)
                               : stack_limit_note(subject, deepest_reserve);
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
    if (depth.under_throughput && grows_in_huge_pages(subject.name)) {
      add_throughput_rows(session, findings, subject, depth);
    }
    if (depth.beside_huge && grows_in_huge_pages(subject.name)) {
      add_to_huge_row(session, findings, subject, depth);
    }
  }
  const Noise worst = noise(findings);
  session.add(
      {.subject = subject.name,
       .metric = "grow_ratio_noise",
       .value = worst.where != nullptr ? std::optional(worst.ratio) : std::nullopt,
       .unit = "ratio",
       .note =
           worst.where != nullptr
               ? fmt::format("{} measured twice: of all depths the ratio farthest from 1, at {}",
                             name(baseline), in_units(worst.where->bytes))
               : "not measured"});
}

std::string cell(const std::optional<double>& value, std::string (*format)(double)) {
  return value ? format(*value) : "-";
}

using ValueAt = std::function<std::optional<double>(const std::string& name, const char* depth)>;

std::vector<std::string> line(const std::string& name, const ValueAt& value_at,
                              std::string (*format)(double)) {
  std::vector<std::string> cells{"  " + name};
  for (const Depth& depth : depths) {
    cells.push_back(cell(value_at(name, depth.label), format));
  }
  return cells;
}

bool had_faults_of_ours(const Findings& findings, const std::string& name) {
  return std::any_of(depths.begin(), depths.end(), [&](const Depth& depth) {
    return findings.at(name, depth.label).faults.value_or(0) > 0;
  });
}

bool is_beside_huge(const Findings& findings, const std::string& name) {
  return std::any_of(depths.begin(), depths.end(), [&](const Depth& depth) {
    return findings.at(name, depth.label).to_huge.has_value();
  });
}

Table table_of(const Findings& findings, const std::vector<std::string>& names) {
  std::vector<std::string> titles{"depth"};
  for (const Depth& depth : depths) {
    titles.push_back(in_units(depth.bytes));
  }
  Table table(std::move(titles), 1);
  const auto section = [&](const char* heading, const ValueAt& value_at,
                           std::string (*format)(double),
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
      "time, us",
      [&](const std::string& name, const char* depth) {
        return findings.microseconds(name, depth);
      },
      short_number, everybody);
  const auto two_decimals = [](double ratio) { return fmt::format("{:.2f}", ratio); };
  section(
      "time, demand_paging = 1",
      [&](const std::string& name, const char* depth) { return findings.ratio(name, depth); },
      two_decimals, everybody);
  if (std::any_of(names.begin(), names.end(),
                  [&](const std::string& name) { return is_beside_huge(findings, name); })) {
    section(
        "time, demand_paging_huge = 1",
        [&](const std::string& name, const char* depth) {
          return findings.at(name, depth).to_huge;
        },
        two_decimals, is_beside_huge);
  }
  if (std::any_of(names.begin(), names.end(),
                  [&](const std::string& name) { return had_faults_of_ours(findings, name); })) {
    section(
        "growth faults of ours; the others have none",
        [&](const std::string& name, const char* depth) { return findings.at(name, depth).faults; },
        grouped, had_faults_of_ours);
  }
  return table;
}

bool is_noise(double ratio, const Noise& noise) {
  return bench::from_one(ratio) <= bench::from_one(noise.ratio);
}

/// "x takes 1.31 times as long as demand_paging at 1 MiB and 1.05 times at 64 MiB."; nothing for
/// one that is no different.
std::string ratio_sentence(const Findings& findings, const std::string& name, const Noise& noise) {
  const auto near = findings.ratio(name, "1MiB");
  const auto far = findings.ratio(name, depths.back().label);
  if (!near || !far || (is_noise(*near, noise) && is_noise(*far, noise))) {
    return {};
  }
  return fmt::format("{} takes {:.2f} times as long at 1 MiB and {:.2f} times at {}{}.", name,
                     *near, *far, in_units(depths.back().bytes),
                     is_noise(*far, noise) ? ", which is no more than noise" : "");
}

std::string indifferent_sentence(const Findings& findings, const std::vector<std::string>& names,
                                 const Noise& noise) {
  std::vector<std::string> indifferent;
  for (const std::string& name : names) {
    if (findings.ratio(name, depths.back().label) &&
        ratio_sentence(findings, name, noise).empty()) {
      indifferent.push_back(name);
    }
  }
  return indifferent.empty()
             ? ""
             : fmt::format("By no more than that do these differ from {} at 1 MiB and at {}: {}.",
                           growstack::name(baseline), in_units(depths.back().bytes),
                           listed(indifferent));
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

std::vector<std::string> what_to_see(const Findings& findings,
                                     const std::vector<std::string>& names) {
  const Noise worst = noise(findings);
  std::vector<std::string> sentences;
  if (worst.where != nullptr) {
    sentences.push_back(
        fmt::format("Measured twice, {} differs from itself by up to {} (at {}): smaller "
                    "differences mean nothing.",
                    name(baseline), in_percent(worst.ratio), in_units(worst.where->bytes)));
  }
  std::vector<std::string> others;
  std::copy_if(names.begin(), names.end(), std::back_inserter(others), [](const std::string& each) {
    return each != again_name && each != name(baseline);
  });
  sentences.push_back(indifferent_sentence(findings, others, worst));
  for (const std::string& each : others) {
    sentences.push_back(ratio_sentence(findings, each, worst));
  }
  for (const std::string& each : others) {
    sentences.push_back(refusal_sentence(findings, each));
  }
  if (std::any_of(names.begin(), names.end(),
                  [&](const std::string& each) { return findings.has(throughput_name(each)); })) {
    sentences.push_back(fmt::format("throughput: {}.", throughput_note(findings)));
  }
  if (findings.has(std::string(split_stack_name))) {
    sentences.push_back(fmt::format("{}: {}.", split_stack_name, split_stack_note));
  }
  return sentences;
}

/// Those asked for, and why some have no figures.
Findings measure(Session& session, const std::vector<Subject>& subjects) {
  std::vector<std::string> together;
  Findings findings{.why_no_huge_pages = session.lacking(Strategy::demand_paging_huge)};
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

/// The baseline last, and once more; each under its second policy below the first.
std::vector<std::string> in_order(const std::vector<Subject>& subjects) {
  std::vector<std::string> names;
  for (const Subject& subject : subjects) {
    if (subject.strategy != baseline) {
      names.push_back(subject.name);
    }
    if (grows_in_huge_pages(subject.name)) {
      names.push_back(throughput_name(subject.name));
    }
  }
  names.emplace_back(name(baseline));
  names.push_back(again_name);
  return names;
}

}  // namespace

namespace {

/// What a ratio of the others is worth, depth by depth.
void add_noise_rows(Session& session, const Findings& findings) {
  for (const Depth& depth : depths) {
    session.add({.subject = std::string(name(baseline)),
                 .metric = std::string("grow_ratio_again_") + depth.label,
                 .value = findings.ratio(again_name, depth.label),
                 .unit = "ratio",
                 .note = "the same thing measured twice"});
  }
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
  add_noise_rows(session, findings);
  const std::vector<std::string> names = in_order(subjects);
  Table table = table_of(findings, names);
  for (const auto& [name, reason] : findings.failures) {
    session.add_missing(name, metrics(name), reason);
    table.add_sentence({name}, reason);
  }
  session.print_title(
      "GROWTH",
      "How long a fresh stack takes to a depth, touched page by page by the code that runs on it. "
      "Medians of rounds that measure all of them in turn, of their times and of their ratios; "
      "making the stack is not in the time, and malloc is told to take fresh memory for each.");
  session.print(table);
  session.print_sentences(what_to_see(findings, names));
  compare_hot_call(session);
}

}  // namespace growstack::compare
