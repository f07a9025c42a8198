// What is written to the JSON file: one measured value a row.
#pragma once

#include <nlohmann/json.hpp>

#include <optional>
#include <string>
#include <vector>

namespace growstack::compare {

struct Row {
  std::string subject{};          ///< a strategy, a peer, or "machine"
  std::string metric{};           ///< for example "grow_ratio_16MiB"
  std::optional<double> value{};  ///< none: it could not be measured, and the note says why
  std::string unit{};             ///< "bytes", "ns", "ms", "us", "ratio", "faults", "1/0", ...
  std::string note{};             ///< what a reader of the value must know; empty for nothing
};

/// All rows of a run, in the order in which they were measured.
class Rows {
 public:
  void add(Row row) { rows_.push_back(std::move(row)); }

  /// Returns a measured value; nothing if it was not measured in this run.
  [[nodiscard]] std::optional<double> value(const std::string& subject,
                                            const std::string& metric) const;

  /// Returns one measured value divided by another; nothing unless both were measured.
  [[nodiscard]] std::optional<double> ratio(const std::string& subject, const std::string& metric,
                                            const std::string& base_subject,
                                            const std::string& base_metric) const;

  /// Returns an array of objects that have the members of Row; a missing value is null.
  [[nodiscard]] nlohmann::ordered_json to_json() const;

 private:
  std::vector<Row> rows_;
};

}  // namespace growstack::compare
