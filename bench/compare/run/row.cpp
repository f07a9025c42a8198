#include "run/row.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace growstack::compare {
namespace {

/// Writes a whole number without ".0", so that bytes and counts stay exact.
nlohmann::ordered_json number(const std::optional<double>& value) {
  constexpr double exact_up_to = 9007199254740992.0;  // 2^53
  if (!value) {
    return nullptr;
  }
  const bool is_whole = std::floor(*value) == *value && std::abs(*value) < exact_up_to;
  return is_whole ? nlohmann::ordered_json(static_cast<std::int64_t>(*value))
                  : nlohmann::ordered_json(*value);
}

}  // namespace

std::optional<double> Rows::value(const std::string& subject, const std::string& metric) const {
  const auto found = std::find_if(rows_.begin(), rows_.end(), [&](const Row& row) {
    return row.subject == subject && row.metric == metric;
  });
  return found == rows_.end() ? std::nullopt : found->value;
}

std::optional<double> Rows::ratio(const std::string& subject, const std::string& metric,
                                  const std::string& base_subject,
                                  const std::string& base_metric) const {
  const auto dividend = value(subject, metric);
  const auto divisor = value(base_subject, base_metric);
  return dividend && divisor && *divisor > 0 ? std::optional(*dividend / *divisor) : std::nullopt;
}

nlohmann::ordered_json Rows::to_json() const {
  auto all = nlohmann::ordered_json::array();
  for (const Row& row : rows_) {
    all.push_back({{"subject", row.subject},
                   {"metric", row.metric},
                   {"value", number(row.value)},
                   {"unit", row.unit},
                   {"note", row.note}});
  }
  return all;
}

}  // namespace growstack::compare
