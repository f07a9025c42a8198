// What does one fault cost in a process with many mappings? The kernel looks the address up in a
// larger tree, and mprotect changes that tree.
#include "parts/mappings.hpp"
#include "parts/memory.hpp"
#include "parts/one_fault.hpp"
#include "run/measurement.hpp"
#include "run/turns.hpp"

#include <array>

namespace growstack::compare {
namespace {

constexpr std::size_t few = 100;
constexpr std::size_t many = 60'000;

// ---- in the child -------------------------------------------------------------------------------

struct Faulter : Contender {
  std::vector<double> with_few{};
  std::vector<double> with_few_again{};
  std::vector<double> with_many{};
};

/// A part of a round: so many other mappings in the process, while everybody has a turn.
struct Setting {
  std::size_t mappings;
  std::vector<double> Faulter::*nanoseconds;
};

/// Does not count the first stack of each, because making the mappings emptied the caches.
void run_in(const Setting& setting, std::vector<Faulter>& faulters, std::mt19937& order) {
  const bench::Mappings mappings(setting.mappings);
  bench::touch_and_free(bench::one_fault_reserve);
  bench::take_turns(faulters, order, [&](Faulter& faulter) {
    const Strategy strategy = strategy_named(faulter.subject);
    static_cast<void>(bench::time_one_fault(strategy));
    (faulter.*setting.nanoseconds).push_back(bench::time_one_fault(strategy));
  });
}

/// Answers for each name {"few_ns", "many_ns", "ratio", "noise"} or {"refusal"}. Throws
/// std::system_error if the process may not have so many mappings.
nlohmann::json measure(const nlohmann::json& request, Progress& progress) {
  auto faulters = contenders<Faulter>(request.at("subjects"));
  bench::warm_memory(4 * bench::one_fault_reserve);
  bench::prepare_to_time_pages();
  std::array settings{Setting{few, &Faulter::with_few}, Setting{few, &Faulter::with_few_again},
                      Setting{many, &Faulter::with_many}};
  std::mt19937 order;  // the same in every run
  const unsigned rounds = request.at("rounds");
  for (unsigned round = 0; round < rounds; ++round) {
    progress.say("one fault among mappings:", round, rounds);
    std::shuffle(settings.begin(), settings.end(), order);
    for (const Setting& setting : settings) {
      run_in(setting, faulters, order);
    }
  }
  Results results;
  for (const Faulter& each : faulters) {
    nlohmann::json& result = results.of(each);
    result["few_ns"] = bench::median(each.with_few);
    result["many_ns"] = bench::median(each.with_many);
    set(result, "ratio", bench::median_ratio(each.with_many, each.with_few));
    set(result, "noise", bench::median_ratio(each.with_few_again, each.with_few));
  }
  results.add_refusals(faulters);
  return results.all();
}

// ---- in the parent ------------------------------------------------------------------------------

/// Chooses those that commit by mprotect in two threads or in one, or by madvise; and the baseline,
/// whose faults the kernel serves.
std::vector<Subject> subjects(const Session& session) {
  return session.strategies([](const StrategyDescription& each) {
    return grows_in_huge_pages(each) || each.strategy == baseline;
  });
}

std::vector<Row> rows(const Outcome& its, const Outcomes&) {
  return {its.row("fault_mappings_ratio", "ratio", "ratio",
                  "one growth fault with 60,000 other mappings, to one with 100")};
}

constexpr std::array columns{
    Column{"100 mappings", "few_ns", grouped}, Column{"60,000 mappings", "many_ns", grouped},
    Column{"100 = 1", "ratio", decimals<2>}, Column{"100 again", "noise", decimals<2>}};

const Registered registered(
    {.name = "fault_mappings",
     .group = "growth",
     .title = "ONE FAULT AMONG MAPPINGS",
     .what =
         "One touch of one page, on a stack that grows by one page at a time, in a process with "
         "100 and with 60,000 other mappings. These are single pages, with permissions and without "
         "in turn. The figures are medians of rounds with both; 100 mappings are measured twice.",
     .subjects = subjects,
     .rounds = {15, 2},
     .measure = measure,
     .rows = rows,
     .lines = "ns for one page",
     .columns = columns});

}  // namespace
}  // namespace growstack::compare
