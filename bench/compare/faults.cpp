// One fault: what a single page of growth costs, in a burst and after a rest, above the floor of a bare handler.
#include "group.hpp"

#include "child.hpp"
#include "parts/bare_handler.hpp"
#include "parts/descent.hpp"
#include "parts/memory.hpp"
#include "parts/samples.hpp"

#include <growstack/growstack.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace growstack::compare {
namespace {

using namespace std::chrono_literals;

constexpr auto rest = 10ms;
constexpr std::size_t burst = 1024;                             // pages, one after the other
constexpr std::size_t reserve = std::size_t{64} * 1024 * 1024;  // more than any of these needs
constexpr unsigned most_rests = 200;

// ---- in the child ----

/// Every page is a fault.
constexpr GrowthPolicy page_by_page{.initial_commit = 1, .factor = 1.0, .least_step = 1, .largest_step = 1, .headroom = 0};

/// Times one touch each of so many pages.
using Measure = std::function<void(std::span<double> nanoseconds, std::chrono::nanoseconds idle)>;

void time_on_fresh_stack(Strategy strategy, std::span<double> nanoseconds, std::chrono::nanoseconds idle) {
  Stack stack({.reserve = reserve, .policy = page_by_page, .strategy = strategy, .name = "faults"});
  call(stack, [&] { bench::time_each_page(nanoseconds, idle); });
}

nlohmann::json measure(const Measure& time_pages, unsigned bursts, unsigned rests, Progress& progress,
                       const std::string& name) {
  std::vector<double> all;
  std::vector<double> some(burst);
  for (unsigned round = 0; round < bursts; ++round) {
    progress.say(fmt::format("faults: {}, burst", name), round, bursts);
    std::fill(some.begin(), some.end(), 0.0);  // resident
    time_pages(some, 0ns);
    all.insert(all.end(), some.begin(), some.end());
  }
  std::vector<double> cold(rests);
  progress.say(fmt::format("faults: {}, after a rest, {} times", name, rests));
  time_pages(cold, rest);
  return {{"burst", bench::median(all)},
          {"burst_p99", bench::percentile(all, 0.99)},
          {"cold", bench::median(cold)},
          {"faults", handler::counters().growth}};
}

}  // namespace

/// {"subject", "bursts", "rests"} to medians in nanoseconds.
nlohmann::json measure_faults(const nlohmann::json& request, Progress& progress) {
  const std::string name = request.at("subject");
  const unsigned bursts = request.at("bursts");
  const unsigned rests = request.at("rests");
  bench::raise_stack_limit(reserve);
  bench::warm_memory(reserve);
  std::vector<double> once(1);
  bench::time_each_page(once, 1ns);  // so that no function's first call, which takes much stack, falls into the figures
  if (name == bare_handler_name) {
    const bench::BareHandler installed;
    return measure(bench::time_each_bare_fault, bursts, rests, progress, name);
  }
  const Strategy strategy = strategy_named(name);
  return measure([strategy](std::span<double> nanoseconds,
                            std::chrono::nanoseconds idle) { time_on_fresh_stack(strategy, nanoseconds, idle); },
                 bursts, rests, progress, name);
}

namespace {

// ---- in the parent ----

const std::vector<std::string> metrics{"fault_ns", "fault_p99_ns", "fault_cold_ns", "fault_floor_ns"};

Answer ask(const Session& session, const std::string& name) {
  const unsigned rounds = session.rounds(200, 30);
  const unsigned bursts = std::max(1U, rounds / 10);
  return ask_child("faults", {{"subject", name}, {"bursts", bursts}, {"rests", std::min(rounds, most_rests)}},
                   session.progress());
}

std::string note_for(const nlohmann::json& result, bool is_bare) {
  return !is_bare && result.at("faults").get<std::uint64_t>() == 0 ? "the kernel's own page fault: no handler runs" : "";
}

void add_rows(Session& session, const std::string& name, const nlohmann::json& result, const Answer& floor) {
  const std::string note = note_for(result, name == bare_handler_name);
  const auto add = [&](const char* metric, std::optional<double> value, const std::string& said) {
    session.add({.subject = name, .metric = metric, .value = value, .unit = "ns", .note = said});
  };
  add("fault_ns", result.at("burst").get<double>(), note);
  add("fault_p99_ns", result.at("burst_p99").get<double>(), note);
  add("fault_cold_ns", result.at("cold").get<double>(), note);
  if (floor.failure.empty()) {
    add("fault_floor_ns", floor.result.at("burst").get<double>(),
        "a SIGSEGV handler with nothing in it but mprotect, in a burst; the same for all");
  } else {
    add("fault_floor_ns", std::nullopt, floor.failure);
  }
}

std::string times(double value, const Answer& floor) {
  return floor.failure.empty() ? fmt::format("{:.2f}", value / floor.result.at("burst").get<double>()) : "-";
}

void add_to_table(Table& table, const std::string& name, const Answer& answer, const Answer& floor) {
  if (!answer.failure.empty()) {
    table.add_sentence({name}, answer.failure);
    return;
  }
  const double in_burst = answer.result.at("burst");
  table.add({name, grouped(in_burst), grouped(answer.result.at("burst_p99").get<double>()), times(in_burst, floor),
             grouped(answer.result.at("cold").get<double>()),
             note_for(answer.result, name == bare_handler_name).empty() ? "a handler" : "the kernel"});
}

std::string sentence(const std::string& name, const Answer& answer, const Answer& floor) {
  if (!answer.failure.empty() || !floor.failure.empty() || !note_for(answer.result, false).empty()) {
    return {};
  }
  const double above = answer.result.at("burst").get<double>() - floor.result.at("burst").get<double>();
  const double cold = answer.result.at("cold").get<double>() / floor.result.at("cold").get<double>();
  return fmt::format("{} adds {:.1f} us to the bare handler in a burst, and takes {:.1f} times its time after a rest.", name,
                     above / 1000, cold);
}

}  // namespace

void compare_faults(Session& session) {
  const std::string bare(bare_handler_name);
  const std::vector<Subject> strategies = session.strategies();
  if (strategies.empty() && !session.includes(bare)) {
    return;
  }
  Table table({"ns for one page", "burst", "99 % below", "bare = 1", "after 10 ms", "served by"}, 1);
  const Answer floor = ask(session, bare);
  std::vector<std::string> sentences;
  for (const Subject& subject : strategies) {
    const Answer answer =
        subject.unsupported.empty() ? ask(session, subject.name) : Answer{.result = {}, .failure = subject.unsupported};
    add_to_table(table, subject.name, answer, floor);
    if (answer.failure.empty()) {
      add_rows(session, subject.name, answer.result, floor);
      sentences.push_back(sentence(subject.name, answer, floor));
    } else {
      session.add_missing(subject.name, metrics, answer.failure);
    }
  }
  add_to_table(table, bare, floor, floor);
  if (floor.failure.empty()) {
    add_rows(session, bare, floor.result, floor);
  } else {
    session.add_missing(bare, metrics, floor.failure);
  }
  session.print_title("ONE FAULT",
                      "One touch of one page, growing by one page a time: page after page, and with 10 ms of rest before "
                      "each. Medians, filling the page with zeros included. bare_handler calls mprotect and nothing else.");
  session.print(table);
  session.print_sentences(sentences);
}

}  // namespace growstack::compare
