#include "proofs/soak/settings.hpp"

#include "proofs/soak/activity.hpp"
#include "support/limits.hpp"
#include "support/sanitized.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <array>
#include <utility>

namespace growstack::soak {
namespace {

constexpr std::array<std::string_view, 3> disturbances{"helper", "descriptors", "handlers"};

std::vector<std::string> all_parts() {
  std::vector<std::string> names;
  for (const Activity& each : activities()) {
    names.emplace_back(each.name);
  }
  names.insert(names.end(), disturbances.begin(), disturbances.end());
  return names;
}

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
    for (const std::string_view part : {"forks", "reports"}) {
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
  CLI::App app("Does everything at once with growable stacks, and verifies every page of them.");
  std::vector<std::string> asked;
  std::vector<std::string> without;
  app.add_option("--seconds", settings.seconds, "how long")->capture_default_str();
  app.add_option("--threads", settings.threads, "how many workers")->capture_default_str();
  app.add_option("--seed", settings.seed, "decides what each worker does")->capture_default_str();
  app.add_option("--patience", settings.patience_seconds, "seconds until quiet is a hang")
      ->capture_default_str();
  app.add_option("--strategies", asked, "only these")
      ->delimiter(',')
      ->check(CLI::IsMember(all_strategies()));
  app.add_option("--without", without, "leaves these parts out")
      ->delimiter(',')
      ->check(CLI::IsMember(all_parts()));
  CLI11_PARSE(app, argc, argv);
  if (app.get_help_ptr() == nullptr) {
    return 0;
  }
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
