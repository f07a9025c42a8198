// The comparison's result as data: one measured value a row.
#pragma once

#include <nlohmann/json.hpp>

#include <optional>
#include <string>
#include <vector>

namespace growstack::compare {

struct Row {
  std::string subject;          ///< a strategy, a peer, or "machine"
  std::string metric;           ///< "grow_ratio_16MiB"
  std::optional<double> value;  ///< none: it could not be measured, and the note says why
  std::string unit;             ///< "bytes", "ns", "ms", "us", "ratio", "faults", "1/0", ...
  std::string note;             ///< what a reader of the value must know, or nothing
};

/// An array of objects with the members of Row; a missing value is null.
[[nodiscard]] nlohmann::ordered_json to_json(const std::vector<Row>& rows);

}  // namespace growstack::compare
