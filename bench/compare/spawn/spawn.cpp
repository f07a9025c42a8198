// The group spawn: the life of a fiber that does next to nothing, on stacks of pools and of
// everybody else.
#include "spawn/spawn.hpp"

#include "parts/samples.hpp"
#include "run/group.hpp"
#include "run/side_by_side.hpp"
#include "subjects/pool_subject.hpp"

#include <fmt/format.h>

#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace growstack::compare {
namespace {

std::optional<double> value(const nlohmann::json& result, const char* member) {
  const auto found = result.find(member);
  return found == result.end() ? std::nullopt : std::optional(found->get<double>());
}

bool has_two_processors() { return std::thread::hardware_concurrency() >= 2; }

std::string why_no_threads_ratio() {
  return has_two_processors() ? "threads could not be measured"
                              : "one processor: threads only take turns";
}

std::vector<std::string> metrics_of(const Subject& subject) {
  std::vector<std::string> all{"spawn_ns", "spawn_ratio"};
  if (subject.strategy) {
    all.insert(all.end(), {"spawn_pair_ns", "spawn_threads_ratio", "spawn_system_calls"});
  }
  if (is_made_fresh(subject.name)) {
    all.emplace_back("spawn_fresh_ns");
  }
  if (subject.name == boost_pooled_name) {
    all.emplace_back("spawn_noise");
  }
  return all;
}

std::optional<double> threads_ratio(const Outcome& outcome) {
  return has_two_processors() ? value(outcome.result, "threads_ratio") : std::nullopt;
}

/// Of one whose stacks pools have.
const nlohmann::json& system_calls(const Outcome& outcome) {
  return outcome.result.at("system_calls");
}

void add_rows(Session& session, const Outcome& outcome) {
  const Subject& subject = outcome.subject;
  if (!outcome.ok()) {
    session.add_missing(subject.name, metrics_of(subject), outcome.failure);
    return;
  }
  const auto add = [&](const char* metric, const std::optional<double>& figure, const char* unit,
                       const std::string& note) {
    session.add(
        {.subject = subject.name, .metric = metric, .value = figure, .unit = unit, .note = note});
  };
  add("spawn_ns", value(outcome.result, "ns"), "ns",
      "a fiber's stack, its switch in and out, 256 bytes written");
  const auto ratio = value(outcome.result, "ratio");
  add("spawn_ratio", ratio, "ratio",
      ratio ? fmt::format("to {}", boost_pooled_name) : "the base could not be measured");
  if (subject.name == boost_pooled_name) {
    const auto noise = value(outcome.result, "noise");
    add("spawn_noise", noise, "ratio",
        noise ? "the same measured twice" : "it could not be measured twice");
  }
  if (is_made_fresh(subject.name)) {
    const auto fresh = value(outcome.result, "fresh_ns");
    add("spawn_fresh_ns", fresh, "ns",
        fresh ? "the same on a Stack made for it, beside another one" : "it failed");
  }
  if (subject.strategy) {
    const auto pair = value(outcome.result, "pair_ns");
    add("spawn_pair_ns", pair, "ns", pair ? "acquire() and the return alone" : "it failed");
    const auto threads = threads_ratio(outcome);
    add("spawn_threads_ratio", threads, "ratio",
        threads ? "pairs a second by two threads together, to those by one"
                : why_no_threads_ratio());
    const auto count = value(system_calls(outcome), "count");
    add("spawn_system_calls", count, "system calls",
        count ? fmt::format("pairs of {} in which the thread made a system call",
                            grouped(std::uint64_t{pairs_counted}))
              : system_calls(outcome).at("refusal").get<std::string>());
  }
}

std::string in_ns(const std::optional<double>& figure) { return figure ? grouped(*figure) : ""; }
std::string as_ratio(const std::optional<double>& figure) {
  return figure ? short_number(*figure) : "";
}

Table table_of(const std::vector<Outcome>& outcomes) {
  Table table(
      {"ns", "a fiber", "boost_pooled = 1", "made fresh", "a pair", "two threads", "system calls"},
      1);
  for (const Outcome& outcome : outcomes) {
    if (!outcome.ok()) {
      table.add_sentence({outcome.subject.name}, outcome.failure);
      continue;
    }
    const bool is_pooled = outcome.subject.strategy.has_value();
    table.add({outcome.subject.name, in_ns(value(outcome.result, "ns")),
               as_ratio(value(outcome.result, "ratio")), in_ns(value(outcome.result, "fresh_ns")),
               as_ratio(value(outcome.result, "pair_ns")),
               as_ratio(is_pooled ? threads_ratio(outcome) : std::nullopt),
               is_pooled ? in_ns(value(system_calls(outcome), "count")) : ""});
  }
  return table;
}

const Outcome* named(const std::vector<Outcome>& outcomes, std::string_view name) {
  for (const Outcome& outcome : outcomes) {
    if (outcome.ok() && outcome.subject.name == name) {
      return &outcome;
    }
  }
  return nullptr;
}

/// Beside a fresh one, where that was measured, and beside the peer that has guards, too.
std::string sentence(const Outcome& outcome, const Outcome* guarded) {
  const auto fresh = outcome.ok() ? value(outcome.result, "fresh_ns") : std::nullopt;
  if (!fresh) {
    return {};
  }
  const double pooled = value(outcome.result, "ns").value();
  const auto to_guarded = [&] {
    return fmt::format(" and 1/{:.0f} of one of {}, which has a guard, too",
                       value(guarded->result, "ns").value() / pooled, boost_protected_name);
  };
  return fmt::format(
      "A fiber on a stack of {} costs from a pool 1/{:.0f} of one on a Stack made for it{}.",
      outcome.subject.name, *fresh / pooled, guarded == nullptr ? "" : to_guarded());
}

bool makes_system_calls(const Outcome& outcome) {
  return outcome.ok() && outcome.subject.strategy &&
         value(system_calls(outcome), "count").value_or(0) > 0;
}

std::vector<std::string> what_to_see(const SideBySide& found) {
  std::vector<std::string> sentences;
  if (const auto noise = value(found.base, "noise")) {
    sentences.push_back(
        fmt::format("{} measured twice differs by {}: smaller differences mean nothing.",
                    boost_pooled_name, in_percent(*noise)));
  }
  std::vector<std::string> with_system_calls;
  for (const Outcome& outcome : found.outcomes) {
    sentences.push_back(sentence(outcome, named(found.outcomes, boost_protected_name)));
    if (makes_system_calls(outcome)) {
      with_system_calls.push_back(outcome.subject.name);
    }
  }
  if (!with_system_calls.empty()) {
    sentences.push_back(
        fmt::format("A warm pair still makes system calls: {}.", listed(with_system_calls)));
  }
  if (!has_two_processors()) {
    sentences.push_back("Two threads at once are not compared with one: " + why_no_threads_ratio() +
                        ".");
  }
  return sentences;
}

}  // namespace

void compare_spawn(Session& session) {
  const std::vector<Subject> subjects = pooled_and_peers(session);
  if (subjects.empty()) {
    return;
  }
  const SideBySide found =
      measure_side_by_side(session, "spawn", subjects, boost_pooled_name, session.rounds(100, 20));
  for (const Outcome& outcome : found.outcomes) {
    add_rows(session, outcome);
  }
  session.print_title("SPAWN",
                      fmt::format("A fiber of Boost.Context gets a stack of {} that is warm, and a "
                                  "guard page where there are guards, "
                                  "writes 256 bytes there, ends, and the stack goes back: to a "
                                  "StackPool, to a peer's allocator, and as a "
                                  "thread, which is created and joined. A pair is acquire() and "
                                  "the return alone; two threads do as many "
                                  "times as many of them as one, in the fastest tenth of the "
                                  "rounds; of {} pairs so many made a system call. "
                                  "Medians of rounds in which all take turns.",
                                  in_units(pooled_reserve), grouped(std::uint64_t{pairs_counted})));
  session.print(table_of(found.outcomes));
  if (found.any_ok()) {
    session.print_sentences(what_to_see(found));
  }
}

}  // namespace growstack::compare
