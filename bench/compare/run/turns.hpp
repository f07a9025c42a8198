// For children: contenders that take turns, and the answer about them.
#pragma once

#include "parts/clock.hpp"
#include "parts/samples.hpp"
#include "parts/turns.hpp"
#include "run/progress.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace growstack::compare {

/// One who has a turn in each round. A measurement that counts more than time derives its own.
struct Contender {
  std::string name{};     ///< of its line in the table
  std::string subject{};  ///< a subject can take part several times, under different names
  std::vector<double> nanoseconds{};  ///< one sample for each round
  std::string refusal{};              ///< why it takes part no longer; empty if it does
};

/// Returns the name under which a subject takes part a second time. How far the two results are
/// apart is what differences between subjects are worth.
[[nodiscard]] inline std::string again(std::string_view subject) {
  return std::string(subject) + "_again";
}

/// Returns a contender for each of the subjects, and the base once more if there is one.
template <class AnyContender = Contender>
[[nodiscard]] std::vector<AnyContender> contenders(const std::vector<std::string>& subjects,
                                                   const std::string& base = {}) {
  std::vector<AnyContender> all(subjects.size());
  for (std::size_t index = 0; index < subjects.size(); ++index) {
    all[index].name = all[index].subject = subjects[index];
  }
  if (!base.empty()) {
    AnyContender& twin = all.emplace_back();
    twin.name = again(base);
    twin.subject = base;
  }
  return all;
}

/// Returns the contender of that name, or null.
template <class AnyContender>
[[nodiscard]] const AnyContender* find(const std::vector<AnyContender>& all,
                                       std::string_view name) {
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const AnyContender& each) { return each.name == name; });
  return found != all.end() ? &*found : nullptr;
}

/// Rounds in which everybody has a turn, in orders that are the same in every run.
class Turns {
 public:
  explicit Turns(Progress& progress) : progress_(progress) {}

  template <class AnyContender, class Measure>
  void take(unsigned rounds, const std::string& what, std::vector<AnyContender>& all,
            const Measure& measure) {
    for (unsigned round = 0; round < rounds; ++round) {
      progress_.say(what, round, rounds);
      bench::take_turns(all, order_, measure);
    }
  }

 private:
  Progress& progress_;
  std::mt19937 order_;
};

/// Sets a member if there is a value.
inline void set(nlohmann::json& object, const char* member, const std::optional<double>& value) {
  if (value) {
    object[member] = *value;
  }
}

/// Returns {"refusal"}, or {"ns"} and, unless the base refused, {"ratio"}.
[[nodiscard]] inline nlohmann::json times(const Contender& contender, const Contender& base) {
  if (!contender.refusal.empty()) {
    return {{"refusal", contender.refusal}};
  }
  nlohmann::json result{{"ns", bench::median(contender.nanoseconds)}};
  set(result, "ratio", bench::median_ratio(contender.nanoseconds, base.nanoseconds));
  return result;
}

/// The answer to ask_together: an array with an object for each name.
class Results {
 public:
  /// Returns the object of a contender, which at first has only its names.
  nlohmann::json& of(const Contender& contender) {
    for (nlohmann::json& each : all_) {
      if (each.at("name") == contender.name) {
        return each;
      }
    }
    return all_.emplace_back(
        nlohmann::json{{"name", contender.name}, {"subject", contender.subject}});
  }
  /// Adds the refusals of those contenders that have one.
  template <class AnyContender>
  void add_refusals(const std::vector<AnyContender>& contenders) {
    for (const AnyContender& each : contenders) {
      if (!each.refusal.empty()) {
        of(each)["refusal"] = each.refusal;
      }
    }
  }
  [[nodiscard]] const nlohmann::json& all() const noexcept { return all_; }

 private:
  nlohmann::json all_ = nlohmann::json::array();
};

}  // namespace growstack::compare
