#include "run/side_by_side.hpp"

#include "run/child.hpp"

#include <algorithm>

namespace growstack::compare {
namespace {

using Names = std::vector<std::string>;

class Asker {
 public:
  Asker(const Session& session, const char* task, std::string_view base, unsigned rounds)
      : session_(session), task_(task), base_(base), rounds_(rounds) {}

  [[nodiscard]] Answer ask(Names names) const {
    if (!base_.empty() && std::find(names.begin(), names.end(), base_) == names.end()) {
      names.push_back(base_);
    }
    return ask_child(task_, {{"subjects", names}, {"rounds", rounds_}}, session_.progress());
  }

 private:
  const Session& session_;
  const char* task_;
  std::string base_;
  unsigned rounds_;
};

void take(Outcome& outcome, const Answer& answer) {
  if (!answer.failure.empty()) {
    outcome.failure = answer.whole_failure();
    return;
  }
  outcome.result = answer.result.at(outcome.subject.name);
  outcome.failure = outcome.result.value("refusal", "");
}

nlohmann::json result_of(const Answer& answer, std::string_view name) {
  const auto found = answer.result.find(name);
  return found == answer.result.end() || found->contains("refusal") ? nlohmann::json() : *found;
}

}  // namespace

bool SideBySide::any_ok() const {
  return std::any_of(outcomes.begin(), outcomes.end(),
                     [](const Outcome& each) { return each.ok(); });
}

SideBySide measure_side_by_side(const Session& session, const char* task,
                                const std::vector<Subject>& subjects, std::string_view base,
                                unsigned rounds) {
  SideBySide found;
  Names works;
  for (const Subject& subject : subjects) {
    found.outcomes.push_back({.subject = subject, .failure = subject.unsupported});
    if (subject.unsupported.empty()) {
      works.push_back(subject.name);
    }
  }
  if (works.empty()) {
    return found;
  }
  const Asker asker(session, task, base, rounds);
  Answer answer = asker.ask(works);
  const bool together = answer.failure.empty();
  for (Outcome& outcome : found.outcomes) {
    if (!outcome.ok()) {
      continue;
    }
    if (!together) {
      answer = asker.ask({outcome.subject.name});
    }
    take(outcome, answer);
    if (answer.failure.empty() && found.base.is_null()) {
      found.base = result_of(answer, base);
    }
  }
  return found;
}

}  // namespace growstack::compare
