#include "run/measurement.hpp"

#include <algorithm>
#include <iterator>

namespace growstack::compare {
namespace {

std::vector<Measurement>& registry() {
  static std::vector<Measurement> all;
  return all;
}

bool contains(const Outcomes& all, std::string_view name) {
  return std::any_of(all.begin(), all.end(),
                     [&](const Outcome& each) { return each.name == name; });
}

/// Asks about subjects that take turns, and about the base.
Answer ask_turns(const Measurement& self, const Session& session, std::vector<std::string> names) {
  if (!self.base.empty() && std::find(names.begin(), names.end(), self.base) == names.end()) {
    names.emplace_back(self.base);
  }
  return ask_child(
      self.name, {{"subjects", names}, {"rounds", session.rounds(self.rounds, self.quick_rounds)}},
      session.progress());
}

/// Adds the outcomes that an answer of ask_turns has, unless an earlier answer had them.
void add_outcomes(Outcomes& all, const nlohmann::json& answer,
                  const std::vector<Subject>& subjects) {
  for (const nlohmann::json& result : answer) {
    const std::string subject_name = result.at("subject");
    const auto subject = std::find_if(subjects.begin(), subjects.end(), [&](const Subject& each) {
      return each.name == subject_name;
    });
    Outcome outcome{.subject = subject != subjects.end() ? *subject : Subject{.name = subject_name},
                    .name = result.at("name"),
                    .result = result,
                    .failure = result.value("refusal", "")};
    outcome.only_compared = subject == subjects.end() || outcome.name != subject_name;
    if (!contains(all, outcome.name)) {
      all.push_back(std::move(outcome));
    }
  }
}

/// Returns a member, or a member of a member; null if there is none.
nlohmann::json member(const nlohmann::json& object, const std::string& path) {
  return object.is_object()
             ? object.value(nlohmann::json::json_pointer("/" + path), nlohmann::json())
             : nlohmann::json();
}

void add_rows(const Measurement& measurement, Session& session, const Outcomes& all) {
  for (const Outcome& outcome : all) {
    if (outcome.only_compared) {
      continue;
    }
    for (Row& row : measurement.rows(outcome, all)) {
      row.subject = outcome.subject.name;
      if (!row.value && !outcome.ok()) {
        row.note = outcome.failure;
      }
      session.add(std::move(row));
    }
  }
}

}  // namespace

std::optional<double> Outcome::number(const std::string& path) const {
  const nlohmann::json found = member(result, path);
  return found.is_number() ? std::optional(found.get<double>()) : std::nullopt;
}

std::string Outcome::text(const std::string& path) const {
  const nlohmann::json found = member(result, path);
  return found.is_string() ? found.get<std::string>() : "";
}

std::string Outcome::cell(const std::string& path, std::string (*format)(double),
                          double unit) const {
  const auto figure = number(path);
  return compare::cell(figure ? std::optional(*figure / unit) : std::nullopt, format);
}

Registered::Registered(const Measurement& measurement) { registry().push_back(measurement); }

const std::vector<Measurement>& measurements() { return registry(); }

void compare(const Measurement& measurement, Session& session) {
  if (measurement.compare_otherwise != nullptr) {
    measurement.compare_otherwise(session);
    return;
  }
  const std::vector<Subject> subjects = measurement.subjects(session);
  if (subjects.empty()) {
    return;
  }
  session.progress().say(measurement.name);
  const Outcomes all = measurement.ask(measurement, session, subjects);
  add_rows(measurement, session, all);
  session.print_title(measurement.title, measurement.what());
  session.print(measurement.table(all));
  session.print_sentences(measurement.remarks != nullptr ? measurement.remarks(all)
                                                         : std::vector<std::string>());
}

Outcomes ask_together(const Measurement& self, const Session& session,
                      const std::vector<Subject>& subjects) {
  Outcomes all;
  std::vector<std::string> names;
  for (const Subject& subject : subjects) {
    if (subject.unsupported.empty()) {
      names.push_back(subject.name);
    } else {
      all.push_back({.subject = subject, .name = subject.name, .failure = subject.unsupported});
    }
  }
  const Answer together = ask_turns(self, session, names);
  if (together.failure.empty()) {
    add_outcomes(all, together.result, subjects);
    return all;
  }
  for (const Subject& subject : subjects) {
    if (contains(all, subject.name)) {
      continue;
    }
    const Answer alone = ask_turns(self, session, {subject.name});
    if (alone.failure.empty()) {
      add_outcomes(all, alone.result, subjects);
    } else {
      all.push_back({.subject = subject, .name = subject.name, .failure = alone.whole_failure()});
    }
  }
  return all;
}

Outcomes ask_each(const Measurement& self, const Session& session,
                  const std::vector<Subject>& subjects) {
  Outcomes all;
  for (const Subject& subject : subjects) {
    session.progress().say(fmt::format("{}: {}", self.name, subject.name));
    all.push_back(ask_one(self.name, session, subject, self.request(session, subject)));
  }
  return all;
}

Outcome ask_one(const char* task, const Session& session, const Subject& subject,
                const nlohmann::json& request) {
  const Answer answer = subject.unsupported.empty() ? ask_child(task, request, session.progress())
                                                    : Answer{.failure = subject.unsupported};
  return {.subject = subject,
          .name = subject.name,
          .request = request,
          .result = answer.result,
          .failure = answer.whole_failure()};
}

Outcome ask_program(const Session& session, const Subject& subject, const nlohmann::json& request) {
  return ask_one("program", session, subject,
                 {{"program", "growstack_" + subject.name}, {"request", request}});
}

const Outcome* find(const Outcomes& all, std::string_view name) {
  const auto found = std::find_if(
      all.begin(), all.end(), [&](const Outcome& each) { return each.ok() && each.name == name; });
  return found != all.end() ? &*found : nullptr;
}

void add_failures(Table& table, const Outcomes& all) {
  for (const Outcome& outcome : all) {
    if (!outcome.ok()) {
      table.add_sentence({outcome.name}, outcome.failure);
    }
  }
}

std::string why_they_died(const Outcomes& all) {
  for (const Outcome& outcome : all) {
    if (!outcome.ok() && outcome.subject.unsupported.empty() &&
        is_strategy(outcome.subject.name, needs_stack_limit)) {
      return outcome.subject.name +
             " died because nothing reserves the address space below a MAP_GROWSDOWN mapping. "
             "Whatever the program maps there ends the growth.";
    }
  }
  return {};
}

std::string noise_sentence(std::string_view base, double ratio) {
  return fmt::format(
      "Measured twice, {} differs from itself by up to {}: smaller differences mean nothing.", base,
      in_percent(ratio));
}

}  // namespace growstack::compare
