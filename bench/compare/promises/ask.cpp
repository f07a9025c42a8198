// The group promises: asks every subject for every promise in child processes, keeps the answers,
// and hands them on.
#include "answers.hpp"

#include "child.hpp"
#include "group.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <fstream>
#include <future>
#include <span>
#include <stdexcept>
#include <system_error>
#include <thread>

namespace growstack::compare {
namespace promises {
namespace {

/// Returns the promises that share one experiment.
std::vector<const Promise*> promises_of(Fate (*experiment)(const Question& question)) {
  std::vector<const Promise*> all;
  for (const Family& family : families()) {
    for (const Promise& promise : family.promises) {
      if (promise.experiment == experiment) {
        all.push_back(&promise);
      }
    }
  }
  return all;
}

const Promise& promise_named(const std::string& name) {
  for (const Family& family : families()) {
    for (const Promise& promise : family.promises) {
      if (promise.name == name) {
        return promise;
      }
    }
  }
  throw std::invalid_argument("no promise of the name " + name);
}

/// Returns the cells of all promises that share the experiment of this one.
Cells ask(const Promise& promise, const std::string& subject, const Session& session) {
  const Answer answer = ask_child(
      "promise",
      {{"promise", promise.name}, {"subject", subject}, {"quick", session.options().quick}},
      session.progress(), std::chrono::seconds(promise.slow ? 160 : 60));
  Cells cells;
  for (const Promise* const each : promises_of(promise.experiment)) {
    if (!answer.failure.empty()) {
      cells[each->name] = none(answer.whole_failure(), answer.died ? "dies" : "fails");
      continue;
    }
    const nlohmann::json& cell = answer.result.at(each->name);
    const nlohmann::json& value = cell.at("value");
    cells[each->name] = {.value = value.is_null() ? std::nullopt : std::optional<double>(value),
                         .word = cell.at("word"),
                         .note = cell.at("note")};
  }
  return cells;
}

/// Asks subjects side by side, because no cell depends on time: as many as there are processors, or
/// all if they only wait.
void ask_each(const Promise& promise, const Session& session, std::span<Column* const> columns) {
  constexpr std::size_t most = 4;  // some take memory
  const std::size_t processors =
      std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, most);
  const std::size_t at_once = promise.slow ? columns.size() : std::min(processors, columns.size());
  std::atomic<std::size_t> next{0};
  std::vector<std::future<void>> askers;
  for (std::size_t asker = 0; asker < at_once; ++asker) {
    askers.push_back(std::async(std::launch::async, [&] {
      for (std::size_t mine = next++; mine < columns.size(); mine = next++) {
        columns[mine]->cells.merge(ask(promise, columns[mine]->subject.name, session));
      }
    }));
  }
  for (std::future<void>& each : askers) {
    each.get();
  }
}

/// Fills the cells of the promise, unless another one with the same experiment did so before.
void fill(const Promise& promise, const Session& session, Answers& answers) {
  std::vector<Column*> asked;
  for (Column& column : answers) {
    if (!column.subject.unsupported.empty()) {
      column.cells[promise.name] = none(column.subject.unsupported);
    } else if (promise.slow && !session.options().slow) {
      column.cells[promise.name] = none("", "not run");
    } else if (!column.cells.contains(promise.name)) {
      asked.push_back(&column);
    }
  }
  ask_each(promise, session, asked);
}

void add_rows(Session& session, const Answers& answers) {
  for (const Column& column : answers) {
    for (const Family& family : families()) {
      for (const Promise& promise : family.promises) {
        const Cell& cell = column.cells.at(promise.name);
        session.add({.subject = column.subject.name,
                     .metric = std::string("promise_") + promise.name,
                     .value = cell.value,
                     .unit = std::string(promise.unit),
                     .note = cell.word + (cell.note.empty() ? "" : ": " + cell.note)});
      }
    }
  }
}

/// Opens the file before the measuring, so that a wrong name does not cost the result.
std::ofstream open_notes(const std::string& path) {
  std::ofstream file;
  if (!path.empty()) {
    file.open(path, std::ios::trunc);
    if (!file) {
      throw std::system_error(errno, std::generic_category(), "cannot write " + path);
    }
  }
  return file;
}

void write_notes(std::ofstream& file, const Options& options, const Answers& answers) {
  file << markdown(answers,
                   fmt::format("bench/run --groups=promises{}{} --notes FILE",
                               options.quick ? " --quick" : "", options.slow ? " --slow" : ""));
  file.close();
  if (!file) {
    throw std::runtime_error("cannot write " + options.notes_file);
  }
}

}  // namespace
}  // namespace promises

/// {"promise", "subject", "quick"} to {name of each promise with the same experiment: {"value",
/// "word", "note"}}.
nlohmann::json answer_promise(const nlohmann::json& request, Progress&) {
  const promises::Promise& asked = promises::promise_named(request.at("promise"));
  const promises::Fate fate =
      asked.experiment({.subject = request.at("subject"), .quick = request.at("quick")});
  nlohmann::json result;
  for (const promises::Promise* const each : promises::promises_of(asked.experiment)) {
    const promises::Cell cell = each->cell(fate);
    result[each->name] = {{"value", cell.value ? nlohmann::json(*cell.value) : nlohmann::json()},
                          {"word", cell.word},
                          {"note", cell.note}};
  }
  return result;
}

void compare_promises(Session& session) {
  promises::Answers answers;
  for (Subject& subject : session.stacks()) {
    answers.push_back({.subject = std::move(subject)});
  }
  if (answers.empty()) {
    return;
  }
  std::ofstream notes = promises::open_notes(session.options().notes_file);
  for (const promises::Family& family : promises::families()) {
    for (const promises::Promise& promise : family.promises) {
      session.progress().say(std::string("promises: ") + promise.title);
      promises::fill(promise, session, answers);
    }
  }
  promises::add_rows(session, answers);
  promises::print(session, answers);
  if (notes.is_open()) {
    promises::write_notes(notes, session.options(), answers);
  }
}

}  // namespace growstack::compare
