#include "run/reports.hpp"

#include <algorithm>
#include <array>

namespace growstack::compare {
namespace {

/// What a line recommends, and the figures that speak for it.
struct Choice {
  std::string take;
  std::string because;
};

using Ranking = std::vector<std::pair<double, std::string>>;

/// Returns the guarded strategies that have a metric, those with the least first; only those of
/// which `takes_part` is true, if it is given.
Ranking by_least(const Rows& rows, const std::string& metric, Trait takes_part = nullptr) {
  Ranking all;
  for (const StrategyDescription& each : strategies()) {
    const std::string name(each.name);
    const auto value = rows.value(name, metric);
    if (value && each.guarded && (takes_part == nullptr || takes_part(each))) {
      all.emplace_back(*value, name);
    }
  }
  std::sort(all.begin(), all.end());
  return all;
}

/// Recommends the first one, and names the second one. `because` has a place for the figure.
std::optional<Choice> first_of(const Ranking& all, const char* because,
                               std::string (*format)(double)) {
  if (all.empty()) {
    return std::nullopt;
  }
  const std::string next =
      all.size() > 1 ? fmt::format(" (next: {} {})", all[1].second, format(all[1].first)) : "";
  return Choice{all[0].second, fmt::format(fmt::runtime(because), format(all[0].first)) + next};
}

std::optional<Choice> for_deep_stacks(const Rows& rows) {
  return first_of(by_least(rows, "grow_ratio_64MiB", gets_memory_late),
                  "grows to 64 MiB in {} of the time of demand_paging", decimals<2>);
}

std::optional<Choice> for_no_wait(const Rows& rows) {
  return first_of(by_least(rows, "fault_ns"), "{} ns for the first touch of a page", grouped);
}

std::optional<Choice> for_short_fibers(const Rows& rows) {
  return first_of(by_least(rows, "spawn_ns"),
                  "{} ns for a fiber's whole life on a stack from a StackPool", grouped);
}

/// Recommends the strategy that had the most stacks at once, each with its guard; of several, the
/// one that made them fastest.
std::optional<Choice> for_many_stacks(const Rows& rows) {
  std::optional<Choice> choice;
  double most = 0;
  for (const auto& [nanoseconds, name] : by_least(rows, "create_ns")) {
    const auto count = rows.value(name, "live_stacks");
    if (count && count == rows.value(name, "guards") && *count > most) {
      most = *count;
      choice = {name, fmt::format("had {} stacks at once, each with its guard, of {} KiB and {} ns",
                                  grouped(*count),
                                  decimals<2>(*rows.value(name, "bytes_per_stack") / 1024),
                                  grouped(nanoseconds))};
    }
  }
  return choice;
}

/// Recommends those that keep all promises about system calls and signals.
std::optional<Choice> for_any_call(const Rows& rows) {
  constexpr std::array kept{"read_libc",       "read_raw",         "recv_raw",
                            "futex_raw",       "getrandom_raw",    "signal_plain",
                            "sigsegv_blocked", "overflow_detected"};
  constexpr std::array deathless{"posix_spawn_deaths", "system_deaths", "popen_deaths",
                                 "abort_deaths"};
  const auto promise = [&](const std::string& subject, const char* name) {
    return rows.value(subject, std::string("promise_") + name);
  };
  std::vector<std::string> names;
  bool measured = false;
  for (const StrategyDescription& each : strategies()) {
    const std::string name(each.name);
    measured = measured || promise(name, kept.front());
    if (std::all_of(kept.begin(), kept.end(),
                    [&](const char* promised) { return promise(name, promised) == 1.0; }) &&
        std::all_of(deathless.begin(), deathless.end(),
                    [&](const char* promised) { return promise(name, promised) == 0.0; })) {
      names.push_back(name);
    }
  }
  return measured ? std::optional(Choice{names.empty() ? "none" : listed(names),
                                         fmt::format("kept all {} promises about them",
                                                     kept.size() + deathless.size())})
                  : std::nullopt;
}

struct Need {
  const char* title;
  /// Returns nothing if this run did not measure what decides.
  std::optional<Choice> (*choose)(const Rows& rows);
};

constexpr std::array needs{Need{"deep stacks", for_deep_stacks},
                           Need{"code that may not wait for a page", for_no_wait},
                           Need{"very many stacks, all guarded", for_many_stacks},
                           Need{"short-lived fibers", for_short_fibers},
                           Need{"any system call, any signal", for_any_call}};

}  // namespace

void report_which_strategy(Session& session) {
  Table table({"for", "take", "because here it"}, 3);
  bool any = false;
  for (const Need& need : needs) {
    if (const auto choice = need.choose(session.rows())) {
      table.add({need.title, choice->take, choice->because});
      any = true;
    }
  }
  if (!any) {
    return;
  }
  session.print_title("WHICH STRATEGY FOR WHAT",
                      "Concluded from the figures of this run; notes/which-strategy.md says more.");
  session.print(table);
}

}  // namespace growstack::compare
