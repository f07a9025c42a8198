// The group promises: asks every subject for every promise in child processes, keeps the answers,
// and hands them on.
#include "promises/tables.hpp"

#include "run/child.hpp"
#include "run/measurement.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <future>
#include <stdexcept>
#include <thread>

namespace growstack::compare::promises {
namespace {

/// Returns the promises that share an experiment with the one of that name, itself among them.
std::vector<const Promise*> sharing(const std::string& name) {
  std::vector<const Promise*> all = all_promises();
  const auto named =
      std::find_if(all.begin(), all.end(), [&](const Promise* each) { return each->name == name; });
  if (named == all.end()) {
    throw std::invalid_argument("no promise of the name " + name);
  }
  const auto experiment = (*named)->experiment;
  std::erase_if(all, [&](const Promise* each) { return each->experiment != experiment; });
  return all;
}

/// Asks a child, and fills the cells of all promises that share the experiment of this one.
void ask(const Promise& promise, const Session& session, Column& column) {
  const Answer answer =
      ask_child("promise",
                {{"promise", promise.name},
                 {"subject", column.subject.name},
                 {"quick", session.options().quick}},
                session.progress(), std::chrono::seconds(promise.slow ? 160 : 60));
  for (const Promise* const each : sharing(promise.name)) {
    Cell& cell = column.cells[each->name];
    if (answer.failure.empty()) {
      const nlohmann::json& told = answer.result.at(each->name);
      const nlohmann::json& value = told.at(0);
      cell = {.value = value.is_null() ? std::nullopt : std::optional<double>(value),
              .word = told.at(1),
              .note = without_name(told.at(2), column.subject.name)};
    } else {
      cell = none(answer.whole_failure(), answer.died ? "dies" : "fails");
    }
  }
}

/// Fills the cells of the promise, unless another one with the same experiment did so before.
/// Subjects are asked side by side, because no cell depends on time: as many as there are
/// processors, or all if they only wait.
void fill(const Promise& promise, const Session& session, std::vector<Column>& columns) {
  constexpr std::size_t most = 4;  // some take memory
  std::vector<Column*> asked;
  for (Column& column : columns) {
    if (!column.subject.unsupported.empty()) {
      column.cells[promise.name] = none(column.subject.unsupported);
    } else if (promise.slow && !session.options().slow) {
      column.cells[promise.name] = none("", "not run");
    } else if (!column.cells.contains(promise.name)) {
      asked.push_back(&column);
    }
  }
  std::atomic<std::size_t> next{0};
  const auto ask_the_next = [&] {
    for (std::size_t mine = next++; mine < asked.size(); mine = next++) {
      ask(promise, session, *asked[mine]);
    }
  };
  const auto processors = std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, most);
  std::vector<std::future<void>> askers(promise.slow ? asked.size() : processors);
  for (std::future<void>& asker : askers) {
    asker = std::async(std::launch::async, ask_the_next);
  }
  for (std::future<void>& asker : askers) {
    asker.get();
  }
}

void add_rows(Session& session, const std::vector<Column>& columns) {
  for (const Column& column : columns) {
    for (const Promise* const promise : all_promises()) {
      const Cell& cell = column.cells.at(promise->name);
      session.add({.subject = column.subject.name,
                   .metric = std::string("promise_") + promise->name,
                   .value = cell.value,
                   .unit = std::string(promise->unit),
                   .note = cell.word + (cell.note.empty() ? "" : ": " + cell.note)});
    }
  }
}

/// {"promise", "subject", "quick"} to {name of each promise with the same experiment: its cell's
/// [value, word, note]}.
nlohmann::json measure(const nlohmann::json& request, Progress&) {
  const auto asked = sharing(request.at("promise"));
  const Fate fate =
      asked.front()->experiment({.subject = request.at("subject"), .quick = request.at("quick")});
  nlohmann::json result;
  for (const Promise* const each : asked) {
    const Cell cell = each->cell(fate);
    result[each->name] = {cell.value ? nlohmann::json(*cell.value) : nlohmann::json(), cell.word,
                          cell.note};
  }
  return result;
}

void compare_all(Session& session) {
  const Options& options = session.options();
  std::vector<Column> columns;
  for (Subject& subject : session.stacks()) {
    columns.push_back({.subject = std::move(subject)});
  }
  if (columns.empty()) {
    return;
  }
  const std::string cannot_write = "cannot write " + options.notes_file;
  std::ofstream notes(options.notes_file);  // opened first, so that a wrong name costs no run
  require(notes.is_open() || options.notes_file.empty(), cannot_write.c_str());
  for (const Promise* const promise : all_promises()) {
    session.progress().say(std::string("promises: ") + promise->title);
    fill(*promise, session, columns);
  }
  add_rows(session, columns);
  print(session, columns);
  if (notes.is_open()) {
    notes << markdown(columns,
                      fmt::format("bench/run --groups=promises{}{} --notes FILE",
                                  options.quick ? " --quick" : "", options.slow ? " --slow" : ""));
    require(static_cast<bool>(notes.flush()), cannot_write.c_str());
  }
}

const Registered registered(
    {.name = "promise", .group = "promises", .measure = measure, .compare_otherwise = compare_all});

}  // namespace
}  // namespace growstack::compare::promises
