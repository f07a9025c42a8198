// One fault in a process with many mappings, beside one with few: the kernel looks the address up
// in a larger tree, and mprotect changes it.
#include "run/group.hpp"

#include "parts/descent.hpp"
#include "parts/mappings.hpp"
#include "parts/memory.hpp"
#include "parts/samples.hpp"
#include "parts/turns.hpp"
#include "run/side_by_side.hpp"

#include <growstack/growstack.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <exception>
#include <random>
#include <string>
#include <vector>

namespace growstack::compare {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t few = 100;
constexpr std::size_t many = 60'000;
constexpr std::size_t pages = 512;  // of one fresh stack, one fault each
constexpr std::size_t reserve = std::size_t{4} * 1024 * 1024;

/// Which commit by mprotect in two threads or one, or by madvise; and the kernel's own fault.
constexpr std::array strategies_here{Strategy::pipe_helper, Strategy::in_handler,
                                     Strategy::guard_markers, Strategy::demand_paging};

// ---- in the child -------------------------------------------------------------------------------

struct Contender {
  std::string subject;
  std::vector<double> with_few{};  // nanoseconds: the median of a stack's pages
  std::vector<double> with_few_again{};
  std::vector<double> with_many{};
  std::string refusal{};
};

/// One fresh stack. Making it is not in the time.
double time_one_stack(Strategy strategy) {
  Stack stack({.reserve = reserve,
               .policy = bench::page_by_page,
               .strategy = strategy,
               .name = "mappings"});
  std::vector<double> nanoseconds(pages);
  call(stack, [&] { bench::time_each_page(nanoseconds, 0ns); });
  return bench::median(nanoseconds);
}

/// A process with so many mappings, in which everybody has a turn.
struct Crowd {
  std::size_t mappings;
  std::vector<double> Contender::*times;
};

/// The first stack of each is not counted: making all those mappings has left the caches to nobody.
void run_among(std::vector<Contender>& contenders, const Crowd& crowd, std::mt19937& order) {
  const bench::Mappings mappings(crowd.mappings);
  bench::touch_and_free(reserve);
  bench::take_turns(contenders, order, [&](Contender& contender) {
    const Strategy strategy = strategy_named(contender.subject);
    time_one_stack(strategy);
    (contender.*crowd.times).push_back(time_one_stack(strategy));
  });
}

nlohmann::json result_of(const Contender& contender) {
  if (!contender.refusal.empty()) {
    return {{"refusal", contender.refusal}};
  }
  return {{"few_ns", bench::median(contender.with_few)},
          {"many_ns", bench::median(contender.with_many)},
          {"ratio", bench::median_ratio(contender.with_many, contender.with_few).value()},
          {"noise", bench::median_ratio(contender.with_few_again, contender.with_few).value()}};
}

}  // namespace

/// {"subjects", "rounds"} to {subject: {"few_ns", "many_ns", "ratio", "noise"} or {"refusal"}}.
/// Throws std::system_error if the process may not have so many mappings.
nlohmann::json measure_fault_mappings(const nlohmann::json& request, Progress& progress) {
  const unsigned rounds = request.at("rounds");
  std::vector<Contender> contenders;
  for (const std::string subject : request.at("subjects")) {
    contenders.push_back({.subject = subject});
  }
  bench::warm_memory(4 * reserve);
  std::vector<double> once(1);
  bench::time_each_page(
      once,
      1ns);  // so that no function's first call, which takes much stack, falls into the figures
  std::array crowds{Crowd{few, &Contender::with_few}, Crowd{few, &Contender::with_few_again},
                    Crowd{many, &Contender::with_many}};
  std::mt19937 order;  // the same orders every time
  for (unsigned round = 0; round < rounds; ++round) {
    progress.say("one fault among mappings:", round, rounds);
    std::shuffle(crowds.begin(), crowds.end(), order);
    for (const Crowd& crowd : crowds) {
      run_among(contenders, crowd, order);
    }
  }
  nlohmann::json results;
  for (const Contender& contender : contenders) {
    results[contender.subject] = result_of(contender);
  }
  return results;
}

namespace {

// ---- in the parent ------------------------------------------------------------------------------

double value(const Outcome& outcome, const char* member) {
  return outcome.result.at(member).get<double>();
}

void add_row(Session& session, const Outcome& outcome) {
  session.add({.subject = outcome.subject.name,
               .metric = "fault_mappings_ratio",
               .value = outcome.ok() ? std::optional(value(outcome, "ratio")) : std::nullopt,
               .unit = "ratio",
               .note = outcome.ok()
                           ? fmt::format("one growth fault with {} other mappings to one with {}",
                                         grouped(std::uint64_t{many}), few)
                           : outcome.failure});
}

Table table_of(const std::vector<Outcome>& outcomes) {
  Table table({"ns for one page", fmt::format("{} mappings", few),
               fmt::format("{} mappings", grouped(std::uint64_t{many})), "100 = 1", "100 again"},
              1);
  for (const Outcome& outcome : outcomes) {
    if (outcome.ok()) {
      table.add({outcome.subject.name, grouped(value(outcome, "few_ns")),
                 grouped(value(outcome, "many_ns")), fmt::format("{:.2f}", value(outcome, "ratio")),
                 fmt::format("{:.2f}", value(outcome, "noise"))});
    } else {
      table.add_sentence({outcome.subject.name}, outcome.failure);
    }
  }
  return table;
}

std::string sentence(const Outcome& outcome) {
  if (!outcome.ok()) {
    return {};
  }
  const double ratio = value(outcome, "ratio");
  const bool is_noise = bench::from_one(ratio) <= bench::from_one(value(outcome, "noise"));
  return fmt::format("A page of {} costs {:.2f} times as much with {} other mappings as with {}{}.",
                     outcome.subject.name, ratio, grouped(std::uint64_t{many}), few,
                     is_noise ? ", which is no more than noise" : "");
}

bool takes_part(Strategy strategy) {
  return std::find(strategies_here.begin(), strategies_here.end(), strategy) !=
         strategies_here.end();
}

}  // namespace

void compare_fault_mappings(Session& session) {
  const std::vector<Subject> subjects = session.strategies(takes_part);
  if (subjects.empty()) {
    return;
  }
  const SideBySide found =
      measure_side_by_side(session, "fault_mappings", subjects, {}, session.rounds(15, 2));
  std::vector<std::string> sentences;
  for (const Outcome& outcome : found.outcomes) {
    add_row(session, outcome);
    sentences.push_back(sentence(outcome));
  }
  session.print_title(
      "ONE FAULT AMONG MAPPINGS",
      fmt::format(
          "One touch of one page, growing by one page a time, in a process with {} and with {} "
          "other mappings, pages "
          "with permissions and without in turns. Medians of rounds with both, few measured twice.",
          few, grouped(std::uint64_t{many})));
  session.print(table_of(found.outcomes));
  session.print_sentences(sentences);
}

}  // namespace growstack::compare
