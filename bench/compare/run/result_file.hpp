// For programs that check what growstack_compare wrote with --json.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <utility>

namespace growstack::compare {

/// The rows of that file. Prints what is wrong, and counts it.
class ResultFile {
 public:
  /// Complains about rows that are not well formed, and about those that are there twice.
  explicit ResultFile(const nlohmann::json& rows) {
    for (const nlohmann::json& row : rows) {
      if (!is_row(row)) {
        complain("not a row: " + row.dump());
      } else if (!rows_.emplace(std::pair(row["subject"], row["metric"]), row).second) {
        complain("twice: " + row.dump());
      }
    }
  }

  /// Complains unless the subject has a row for each of the metrics, which spaces part.
  void expect(const std::string& subject, const std::string& metrics,
              const std::string& prefix = {}) {
    std::istringstream names(metrics);
    for (std::string metric; names >> metric;) {
      if (!rows_.contains({subject, prefix + metric})) {
        complain("missing: " + prefix + metric + " of " + subject);
      }
    }
  }

  /// Complains if the metric was measured and has another value.
  void expect_value(const std::string& subject, const std::string& metric, double value) {
    const auto row = rows_.find({subject, metric});
    if (row != rows_.end() && row->second["value"].is_number() && row->second["value"] != value) {
      complain("not " + std::to_string(value) + ": " + row->second.dump());
    }
  }

  [[nodiscard]] int exit_code() const { return complaints_ == 0 ? EXIT_SUCCESS : EXIT_FAILURE; }

 private:
  /// Returns whether the row has a value, or a reason why there is none.
  static bool is_row(const nlohmann::json& row) {
    for (const char* const text : {"subject", "metric", "unit", "note"}) {
      if (!row.is_object() || !row.contains(text) || !row[text].is_string()) {
        return false;
      }
    }
    return row.contains("value") &&
           (row["value"].is_number() || (row["value"].is_null() && row["note"] != ""));
  }

  void complain(const std::string& what) {
    std::printf("%s\n", what.c_str());
    ++complaints_;
  }

  std::map<std::pair<std::string, std::string>, nlohmann::json> rows_;
  int complaints_ = 0;
};

/// The main() of a program whose one argument is such a file.
inline int check_result_file(int argc, char** argv, void (*check)(ResultFile& file)) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FILE\n", argv[0]);
    return EXIT_FAILURE;
  }
  std::ifstream stream(argv[1]);
  const auto rows = nlohmann::json::parse(stream, nullptr, false);
  if (!rows.is_array()) {
    std::fprintf(stderr, "%s is not a JSON array\n", argv[1]);
    return EXIT_FAILURE;
  }
  ResultFile file(rows);
  check(file);
  return file.exit_code();
}

}  // namespace growstack::compare
