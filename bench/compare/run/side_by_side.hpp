// Subjects that one child measures in turns, and what comes of it.
#pragma once

#include "run/session.hpp"

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace growstack::compare {

struct Outcome {
  Subject subject;
  nlohmann::json result{};
  std::string failure{};  ///< why there is no result; empty if there is one

  [[nodiscard]] bool ok() const { return failure.empty(); }
};

struct SideBySide {
  std::vector<Outcome> outcomes{};  ///< in the order of the subjects
  nlohmann::json base{};            ///< the result of what the ratios are to; null if it has none

  [[nodiscard]] bool any_ok() const;
};

/// Asks a child for the task: {"subjects": [...], "rounds": n} to {subject: its result, or
/// {"refusal": why}}. The base is always one of them; empty for measurements that need none. Should
/// the child die, each subject is asked for beside the base in a child of its own, so that only the
/// one which dies is lost.
[[nodiscard]] SideBySide measure_side_by_side(const Session& session, const char* task,
                                              const std::vector<Subject>& subjects,
                                              std::string_view base, unsigned rounds);

}  // namespace growstack::compare
