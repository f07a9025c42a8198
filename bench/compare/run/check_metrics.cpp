// check_metrics FILE: whether a comparison's JSON has a row for every metric of every strategy and
// peer, well formed. Says what is missing. Never looks at how large a value is: a slow machine is
// no error.
#include "run/result_file.hpp"

#include <growstack/strategy.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

using Metrics = std::vector<std::string>;

Metrics operator+(Metrics left, const Metrics& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

Metrics for_each_of(const char* kind, const Metrics& labels) {
  Metrics all;
  for (const std::string& label : labels) {
    all.push_back(kind + label);
  }
  return all;
}

/// Of the parts of the group growth that concern a strategy.
Metrics growth_parts(growstack::Strategy strategy) {
  using enum growstack::Strategy;
  const auto is_one_of = [&](std::initializer_list<growstack::Strategy> these) {
    return std::find(these.begin(), these.end(), strategy) != these.end();
  };
  const Metrics oscillation{"oscillate_ratio", "oscillate_faults", "oscillate_resident_ratio",
                            "oscillate_far_ratio"};
  const Metrics threads = for_each_of("grow_threads_", {"1", "2", "4", "8"}) +
                          for_each_of("grow_threads_ratio_", {"1", "2", "4", "8"});
  Metrics all{"steady_call_ratio", "steady_call_instructions_ratio"};
  all = is_one_of({locked, heap}) ? all : all + threads;
  all = is_one_of({locked, heap, grows_down}) ? all : all + oscillation;
  return is_one_of({pipe_helper, in_handler, guard_markers, demand_paging})
             ? all + Metrics{"fault_mappings_ratio"}
             : all;
}

/// Of the groups spawn and scale that concern a strategy.
Metrics pool_metrics(growstack::Strategy strategy) {
  using enum growstack::Strategy;
  const Metrics crowd{"live_stacks", "guards", "create_ns", "bytes_per_stack"};
  const Metrics pooled = crowd + Metrics{"spawn_ns", "spawn_ratio", "spawn_pair_ns",
                                         "spawn_threads_ratio", "spawn_system_calls"};
  const Metrics fresh{"spawn_fresh_ns"};
  switch (strategy) {
    case grows_down:
    case heap:
      return {};
    case pipe_helper:
    case in_handler:
      return pooled + fresh;
    case guard_markers:
      return pooled + fresh + Metrics{"vmas", "scale_grown_ok", "overflow_detected", "vmas_8MiB"} +
             Metrics{"live_stacks_8MiB", "guards_8MiB", "create_ns_8MiB", "bytes_per_stack_8MiB"} +
             Metrics{"rss_after_burst_ratio", "burst_system_calls", "rss_idle_fiber_pages_before",
                     "rss_idle_fiber_pages"} +
             Metrics{"fault_latency_ratio", "fault_latency_noise"};
    default:
      return pooled;
  }
}

/// What each subject must have a row for.
std::map<std::string, Metrics> expected() {
  const Metrics growth = for_each_of(
      "grow_ratio_", {"noise", "16KiB", "64KiB", "256KiB", "1MiB", "2MiB", "16MiB", "64MiB"});
  const Metrics real{"real_regex_ok", "real_json_ok"};
  const Metrics stack =
      growth + real +
      for_each_of("stage_rss_", {"created", "deep", "returned", "trimmed", "released"});
  const Metrics fault{"fault_ns", "fault_cold_ns", "fault_floor_ns"};
  const Metrics fiber{"spawn_ns", "spawn_ratio", "live_stacks",
                      "guards",   "create_ns",   "bytes_per_stack"};
  std::map<std::string, Metrics> all{
      {"glibc_thread", stack + fiber + Metrics{"real_large_regex_ok", "real_large_json_ok"}},
      {"glibc_thread_setstack", stack},
      {"boost_fixedsize", stack + fiber},
      {"boost_protected_fixedsize", stack + fiber},
      {"boost_pooled_fixedsize", stack + fiber + Metrics{"spawn_noise"}},
      {"split_stack", growth + real + Metrics{"hot_call_ns", "hot_call_worst_ratio"}},
      {"libsigsegv", fault},
      {"bare_handler", fault}};
  for (const growstack::StrategyDescription& strategy : growstack::strategies()) {
    all[std::string(strategy.name)] = stack + fault + growth_parts(strategy.strategy) +
                                      pool_metrics(strategy.strategy) +
                                      Metrics{"grow_faults_16MiB"};
  }
  for (const char* const in_huge_pages : {"pipe_helper", "in_handler", "guard_markers"}) {
    Metrics& its = all.at(in_huge_pages);
    its = its + for_each_of("grow_ratio_", {"1MiB_throughput", "16MiB_throughput"}) +
          for_each_of("grow_us_", {"1MiB_throughput", "16MiB_throughput"}) +
          for_each_of("grow_to_huge_", {"16MiB", "64MiB"});
  }
  return all;
}

/// A value, or a reason why there is none.
bool is_row(const nlohmann::json& row) {
  const auto has_text = [&](const char* member) {
    return row.contains(member) && row[member].is_string();
  };
  return row.is_object() && has_text("subject") && has_text("metric") && has_text("unit") &&
         has_text("note") && row.contains("value") &&
         (row["value"].is_number() ||
          (row["value"].is_null() && !row["note"].get<std::string>().empty()));
}

int check(const nlohmann::json& rows) {
  std::set<std::pair<std::string, std::string>> seen;
  int wrong = 0;
  for (const nlohmann::json& row : rows) {
    if (!is_row(row)) {
      std::printf("not a row: %s\n", row.dump().c_str());
      ++wrong;
    } else if (!seen.emplace(row["subject"], row["metric"]).second) {
      std::printf("twice: %s\n", row.dump().c_str());
      ++wrong;
    }
  }
  for (const auto& [subject, metrics] : expected()) {
    for (const std::string& metric : metrics) {
      if (!seen.contains({subject, metric})) {
        std::printf("missing: %s of %s\n", metric.c_str(), subject.c_str());
        ++wrong;
      }
    }
  }
  return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  return growstack::compare::check_result_file("check_metrics", argc, argv, check);
}
