// Promises: what each way to give a stack its memory keeps, and what it does not.
#include "promise.hpp"

#include "child.hpp"
#include "group.hpp"
#include "parts/descent.hpp"
#include "parts/memory.hpp"

#include <growstack/handler/pages.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <fstream>
#include <future>
#include <iterator>
#include <stdexcept>
#include <system_error>
#include <thread>

namespace growstack::compare {
namespace promises {

// ---- cells --------------------------------------------------------------------------------------

Cell yes(std::string word, std::string note) {
  return {.value = 1, .word = std::move(word), .note = std::move(note)};
}
Cell no(std::string word, std::string note) {
  return {.value = 0, .word = std::move(word), .note = std::move(note)};
}
Cell none(std::string note, std::string word) {
  return {.value = {}, .word = std::move(word), .note = std::move(note)};
}

Cell no_trim() { return none("there is no trim"); }

Cell number(double value, std::string note) {
  const bool is_whole = std::abs(value - std::round(value)) < 0.005;
  return {.value = value,
          .word = is_whole ? fmt::format("{:.0f}", value) : fmt::format("{:.2f}", value),
          .note = std::move(note)};
}

Cell bytes(double value, std::string note) {
  const bool in_mib = value >= static_cast<double>(mib);
  const double amount = value / static_cast<double>(in_mib ? mib : kib);
  return {.value = value,
          .word = value <= 0 ? "0"
                             : fmt::format("{:.{}f} {}", amount,
                                           amount < 9.95 && std::fmod(amount, 1) != 0 ? 1 : 0,
                                           in_mib ? "MiB" : "KiB"),
          .note = std::move(note)};
}

// ---- stacks -------------------------------------------------------------------------------------

std::unique_ptr<AnyStack> make(const std::string& subject, std::size_t bytes) {
  constexpr std::size_t kernel_gap = 2 * mib;  // MAP_GROWSDOWN keeps away from what lies below
  bench::raise_lock_limit();
  bench::raise_stack_limit(bytes + guard_bytes + kernel_gap);
  return make_stack(subject, {.reserve = bytes, .guard = guard_bytes, .initial_commit = {}});
}

void go_down(const AnyStack& stack, std::size_t bytes) { bench::descend(stack.base() - bytes); }

std::uintptr_t edge(const AnyStack& stack) {
  const std::uintptr_t middle =
      handler::page_down(stack.base() - (stack.base() - stack.floor()) / 2);
  return stack.limit() == stack.floor() ? middle : stack.limit();
}

const std::vector<Family>& families() {
  static const std::vector<Family> all{promises_of_life(), promises_of_calls(),
                                       promises_of_signals(), promises_of_the_end(),
                                       promises_of_memory()};
  return all;
}

std::string Footnotes::marked(const Cell& cell) {
  if (cell.note.empty()) {
    return cell.word;
  }
  const auto found = std::find(notes_.begin(), notes_.end(), cell.note);
  const auto index = found - notes_.begin();
  if (found == notes_.end()) {
    notes_.push_back(cell.note);
  }
  return fmt::format("{}[{}]", cell.word, index + 1);
}

namespace {

// ---- asking -------------------------------------------------------------------------------------

constexpr std::array peers{"glibc_thread", "glibc_thread_setstack", "boost_fixedsize",
                           "boost_protected_fixedsize", "boost_pooled_fixedsize"};

const Probe& probe_named(const std::string& name) {
  for (const Family& family : families()) {
    for (const Probe& probe : family.probes) {
      if (probe.name == name) {
        return probe;
      }
    }
  }
  throw std::invalid_argument("no probe of the name " + name);
}

void to_all(const Probe& probe, const Cell& cell, Cells& cells) {
  for (const Promise& promise : probe.promises) {
    cells[promise.name] = cell;
  }
}

Cells from_json(const nlohmann::json& result) {
  Cells cells;
  for (const auto& [name, cell] : result.items()) {
    const nlohmann::json& value = cell.at("value");
    cells[name] = {.value = value.is_null() ? std::nullopt : std::optional(value.get<double>()),
                   .word = cell.at("word"),
                   .note = cell.at("note")};
  }
  return cells;
}

Cells ask(const Probe& probe, const std::string& subject, const Session& session) {
  const Answer answer = ask_child(
      "promise", {{"probe", probe.name}, {"subject", subject}, {"quick", session.options().quick}},
      session.progress(), probe.patience);
  if (answer.failure.empty()) {
    return from_json(answer.result);
  }
  Cells cells;
  to_all(probe, none(answer.whole_failure(), answer.died ? "dies" : "fails"), cells);
  return cells;
}

/// Subjects side by side, for no cell depends on time: as many as there are processors, or all
/// where they only wait.
void ask_of_each(const Probe& probe, const Session& session,
                 std::span<Answers::Column* const> columns) {
  constexpr std::size_t most = 4;  // some take memory
  const std::size_t processors =
      std::clamp<std::size_t>(std::thread::hardware_concurrency(), 1, most);
  const std::size_t at_once = probe.slow ? columns.size() : std::min(processors, columns.size());
  std::atomic<std::size_t> next{0};
  std::vector<std::future<void>> askers;
  for (std::size_t asker = 0; asker < at_once; ++asker) {
    askers.push_back(std::async(std::launch::async, [&] {
      for (std::size_t mine = next++; mine < columns.size(); mine = next++) {
        columns[mine]->cells.merge(ask(probe, columns[mine]->subject, session));
      }
    }));
  }
  for (std::future<void>& each : askers) {
    each.get();
  }
}

void ask_everybody(const Session& session, const Probe& probe, Answers& answers) {
  std::vector<Answers::Column*> asked;
  for (Answers::Column& column : answers.columns) {
    if (!column.unsupported.empty()) {
      to_all(probe, none(column.unsupported), column.cells);
    } else if (probe.slow && !session.options().slow) {
      to_all(probe, none("", "not run"), column.cells);
    } else {
      asked.push_back(&column);
    }
  }
  ask_of_each(probe, session, asked);
}

Answers participants(const Session& session) {
  Answers answers;
  for (const Subject& subject : session.strategies()) {
    answers.columns.push_back(
        {.subject = subject.name, .is_strategy = true, .unsupported = subject.unsupported});
  }
  for (const char* const peer : peers) {
    if (session.includes(peer)) {
      answers.columns.push_back({.subject = peer});
    }
  }
  return answers;
}

// ---- telling ------------------------------------------------------------------------------------

void add_rows(Session& session, const Answers& answers) {
  for (const Answers::Column& column : answers.columns) {
    for (const Family& family : families()) {
      for (const Probe& probe : family.probes) {
        for (const Promise& promise : probe.promises) {
          const Cell& cell = column.cell(promise.name);
          session.add({.subject = column.subject,
                       .metric = std::string("promise_") + promise.name,
                       .value = cell.value,
                       .unit = promise.unit,
                       .note = cell.word + (cell.note.empty() ? "" : ": " + cell.note)});
        }
      }
    }
  }
}

/// "boost_pooled_fixedsize" on lines of a narrow column.
std::string heading(std::string name) {
  constexpr std::size_t widest = 10;
  std::string lines;
  std::size_t column = 0;
  while (!name.empty()) {
    const std::string word =
        name.substr(0, name.find('_') == std::string::npos ? name.size() : name.find('_') + 1);
    name.erase(0, word.size());
    if (column != 0 && column + word.size() > widest) {
      lines += '\n';
      column = 0;
    }
    lines += word;
    column += word.size();
  }
  return lines;
}

void print_columns(Session& session, std::span<const Answers::Column> columns) {
  std::vector<std::string> titles{"promise"};
  for (const Answers::Column& column : columns) {
    titles.push_back(heading(column.subject));
  }
  Table table(std::move(titles), 1);
  Footnotes footnotes;
  for (const Family& family : families()) {
    table.add_heading(family.title);
    for (const Probe& probe : family.probes) {
      for (const Promise& promise : probe.promises) {
        std::vector<std::string> cells{std::string("  ") + promise.title};
        for (const Answers::Column& column : columns) {
          cells.push_back(footnotes.marked(column.cell(promise.name)));
        }
        table.add(std::move(cells));
      }
    }
  }
  session.print(table);
  std::vector<std::string> legend;
  for (std::size_t index = 0; index < footnotes.all().size(); ++index) {
    legend.push_back(fmt::format("[{}] {}", index + 1, footnotes.all()[index]));
  }
  session.print_sentences(legend);
}

void print(Session& session, const Answers& answers) {
  constexpr std::size_t columns_a_table = 5;
  session.print_title("PROMISES",
                      "Each cell is what happened in a process of its own; a signal's name is what "
                      "that process died of.");
  for (const Family& family : families()) {
    session.print_sentences({fmt::format("{}. {}", family.title, family.what_was_done)});
  }
  for (const bool strategies : {true, false}) {
    std::vector<Answers::Column> kind;
    std::copy_if(answers.columns.begin(), answers.columns.end(), std::back_inserter(kind),
                 [&](const auto& column) { return column.is_strategy == strategies; });
    const std::size_t tables = (kind.size() + columns_a_table - 1) / columns_a_table;
    for (std::size_t table = 0; table < tables; ++table) {
      const std::size_t from = kind.size() * table / tables;
      const std::size_t to = kind.size() * (table + 1) / tables;
      session.print_sentences({});
      print_columns(session, std::span(kind).subspan(from, to - from));
    }
  }
  session.print_sentences({"Which one to choose, by these cells:"});
  session.print_sentences(advice(answers));
}

/// Opened before the measuring, not after it.
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
                   fmt::format("growstack_compare --groups=promises{}{} --notes FILE",
                               options.quick ? " --quick" : "", options.slow ? " --slow" : ""));
  file.close();
  if (!file) {
    throw std::runtime_error("cannot write " + options.notes_file);
  }
}

}  // namespace
}  // namespace promises

nlohmann::json answer_promise(const nlohmann::json& request, Progress&) {
  const promises::Probe& probe = promises::probe_named(request.at("probe"));
  const promises::Question question{.subject = request.at("subject"), .quick = request.at("quick")};
  nlohmann::json result;
  for (const auto& [name, cell] : probe.ask(question)) {
    result[name] = {{"value", cell.value ? nlohmann::json(*cell.value) : nlohmann::json()},
                    {"word", cell.word},
                    {"note", cell.note}};
  }
  return result;
}

void compare_promises(Session& session) {
  promises::Answers answers = promises::participants(session);
  if (answers.columns.empty()) {
    return;
  }
  std::ofstream notes = promises::open_notes(session.options().notes_file);
  for (const promises::Family& family : promises::families()) {
    for (const promises::Probe& probe : family.probes) {
      session.progress().say(std::string("promises: ") + probe.name);
      promises::ask_everybody(session, probe, answers);
    }
  }
  promises::add_rows(session, answers);
  promises::print(session, answers);
  if (notes.is_open()) {
    promises::write_notes(notes, session.options(), answers);
  }
}

}  // namespace growstack::compare
