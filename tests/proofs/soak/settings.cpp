#include "proofs/soak/settings.hpp"

#include "proofs/soak/activity.hpp"
#include "support/limits.hpp"
#include "support/sanitized.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <string>
#include <utility>

namespace growstack::soak {
namespace {

struct Disturbance {
  std::string_view name;
  std::string_view says;
};
constexpr std::array disturbances{
    Disturbance{"helper", "stops and ends threads of the library"},
    Disturbance{"descriptors", "closes descriptors of the library, and takes their numbers"},
    Disturbance{"handlers", "puts other handlers over that of the library"},
};

std::vector<std::string> all_parts() {
  std::vector<std::string> names;
  for (const Activity& each : activities()) {
    names.emplace_back(each.name);
  }
  for (const Disturbance& each : disturbances) {
    names.emplace_back(each.name);
  }
  return names;
}

/// Returns what --without takes, and what each of it is.
std::string explained_parts() {
  std::string lines = "The parts, which --without leaves out:\n";
  const auto add = [&](std::string_view name, std::string_view says) {
    lines += fmt::format("  {:<12} {}\n", name, says);
  };
  for (const Activity& each : activities()) {
    add(each.name, each.says);
  }
  for (const Disturbance& each : disturbances) {
    add(each.name, each.says);
  }
  return lines;
}

const std::map<std::string, Mistake, std::less<>> mistakes{{"word", Mistake::word},
                                                           {"signal", Mistake::signal},
                                                           {"hang", Mistake::hang},
                                                           {"idle", Mistake::idle}};

std::vector<std::string> all_strategies() {
  std::vector<std::string> names;
  for (const StrategyDescription& each : strategies()) {
    names.emplace_back(each.name);
  }
  return names;
}

void leave_out(Settings& settings, std::string_view part, std::string_view why) {
  if (settings.without.emplace(part).second) {
    fmt::print("Left out: {}: {}\n", part, why);
  }
}

void leave_out_what_sanitizers_forbid(Settings& settings) {
  if (testing::under_thread_sanitizer) {
    for (const std::string_view part : {"forks", "overflows"}) {
      leave_out(settings, part, "ThreadSanitizer knows no threads after a fork");
    }
    leave_out(settings, "fibers", "Boost.Context tells ThreadSanitizer of no switch");
    for (const std::string_view part : {"signals", "timers"}) {
      leave_out(settings, part, "ThreadSanitizer keeps one signal of a kind, and drops the others");
    }
    leave_out(settings, "helper", "ThreadSanitizer is not told of a thread that ends");
    leave_out(settings, "descriptors", "ThreadSanitizer takes a closed descriptor for a data race");
    leave_out(settings, "handlers", "ThreadSanitizer stands in front of every handler");
  }
  if (testing::sanitized) {
    leave_out(settings, "vforks", "a sanitizer sees one thread twice in a vfork child");
  }
}

/// Takes the strategies that were asked for, or all that work here and keep their place.
void choose_strategies(Settings& settings, const std::vector<std::string>& asked) {
  for (const StrategyDescription& each : strategies()) {
    const bool is_asked = std::find(asked.begin(), asked.end(), each.name) != asked.end();
    if (!is_asked && !asked.empty()) {
      continue;
    }
    if (const Support here = supported(each.strategy); !here) {
      fmt::print("Left out: {}: {}\n", each.name, here.reason);
    } else if (each.strategy == Strategy::grows_down && !is_asked) {
      fmt::print("Left out: {}: other threads map memory into the hole below it\n", each.name);
    } else {
      settings.strategies.push_back(each.strategy);
    }
  }
}

}  // namespace

int read_settings(int argc, char** argv, Settings& settings) {
  CLI::App app(
      "Uses growable stacks in every way at once, from many threads, and disturbs the library "
      "meanwhile. Verifies each byte that was written to a stack, and that each signal arrives. "
      "Prints a table of what it did, and the main counts in the last line. In a run of 30 "
      "seconds or more, each part must have done something.");
  std::vector<std::string> asked;
  std::vector<std::string> without;
  std::string mistake;
  app.footer(explained_parts());
  app.add_option("--seconds", settings.seconds, "how long it runs")->capture_default_str();
  app.add_option("--threads", settings.threads, "how many threads use stacks at once")
      ->capture_default_str();
  app.add_option("--seed", settings.seed, "a number that decides what each thread does")
      ->capture_default_str();
  app.add_option("--hang-after", settings.patience_seconds,
                 "a thread that does nothing for so many seconds hangs")
      ->capture_default_str();
  app.add_option("--strategies", asked, "only stacks of these strategies")
      ->delimiter(',')
      ->check(CLI::IsMember(all_strategies()));
  app.add_option("--without", without, "leaves parts out; they are listed below")
      ->delimiter(',')
      ->check(CLI::IsMember(all_parts()).description(""));
  app.add_option("--mistake", mistake,
                 "makes a mistake, to see that it is found: loses a word or a signal, lets a "
                 "thread hang, or does nothing at all")
      ->check(CLI::IsMember({"word", "signal", "hang", "idle"}));
  CLI11_PARSE(app, argc, argv);
  if (!mistake.empty()) {
    settings.mistake = mistakes.find(mistake)->second;
  }
  settings.is_chosen = !asked.empty() || !without.empty();
  for (const std::string& part : without) {
    settings.without.insert(part);
  }
  leave_out_what_sanitizers_forbid(settings);
  testing::raise_soft_limit(RLIMIT_MEMLOCK);
  choose_strategies(settings, asked);
  if (settings.strategies.empty()) {
    fmt::print("SKIPPED: none of the strategies works here\n");
    return 0;
  }
  return -1;
}

}  // namespace growstack::soak
