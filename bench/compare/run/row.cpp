#include "run/row.hpp"

#include <cmath>
#include <cstdint>

namespace growstack::compare {
namespace {

/// Whole numbers without ".0": bytes and counts stay exact.
nlohmann::ordered_json number(const std::optional<double>& value) {
  constexpr double exact_up_to = 9007199254740992.0;  // 2^53
  if (!value) {
    return nullptr;
  }
  if (std::floor(*value) == *value && std::abs(*value) < exact_up_to) {
    return static_cast<std::int64_t>(*value);
  }
  return *value;
}

}  // namespace

nlohmann::ordered_json to_json(const std::vector<Row>& rows) {
  auto all = nlohmann::ordered_json::array();
  for (const Row& row : rows) {
    all.push_back({{"subject", row.subject},
                   {"metric", row.metric},
                   {"value", number(row.value)},
                   {"unit", row.unit},
                   {"note", row.note}});
  }
  return all;
}

}  // namespace growstack::compare
