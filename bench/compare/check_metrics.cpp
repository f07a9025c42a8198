// check_metrics FILE: whether a comparison's JSON has a row for every metric of every strategy, well formed. Says what is
// missing. Never looks at how large a value is: a slow machine is no error.
#include <growstack/strategy.hpp>

#include <nlohmann/json.hpp>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

std::vector<std::string> metrics_of_a_strategy() {
  std::vector<std::string> all{"grow_ratio_noise", "grow_faults_16MiB", "fault_ns",    "fault_cold_ns",
                               "fault_floor_ns",   "real_regex_ok",     "real_json_ok"};
  for (const char* const depth : {"16KiB", "64KiB", "256KiB", "1MiB", "2MiB", "16MiB", "64MiB"}) {
    all.push_back(std::string("grow_ratio_") + depth);
  }
  for (const char* const stage : {"created", "deep", "returned", "trimmed", "released"}) {
    all.push_back(std::string("stage_rss_") + stage);
  }
  return all;
}

/// A value, or a reason why there is none.
bool is_row(const nlohmann::json& row) {
  const auto has_text = [&](const char* member) { return row.contains(member) && row[member].is_string(); };
  return row.is_object() && has_text("subject") && has_text("metric") && has_text("unit") && has_text("note") &&
         row.contains("value") &&
         (row["value"].is_number() || (row["value"].is_null() && !row["note"].get<std::string>().empty()));
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
  for (const growstack::StrategyDescription& strategy : growstack::strategies()) {
    for (const std::string& metric : metrics_of_a_strategy()) {
      if (!seen.contains({std::string(strategy.name), metric})) {
        std::printf("missing: %s of %s\n", metric.c_str(), strategy.name.data());
        ++wrong;
      }
    }
  }
  return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: check_metrics FILE\n");
    return EXIT_FAILURE;
  }
  std::ifstream file(argv[1]);
  const auto rows = nlohmann::json::parse(file, nullptr, false);
  if (!rows.is_array()) {
    std::fprintf(stderr, "%s is no JSON array\n", argv[1]);
    return EXIT_FAILURE;
  }
  return check(rows);
}
