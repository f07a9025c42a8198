// Real programs: what kills an ordinary thread, and what it takes to survive.
#include "run/group.hpp"

#include "parts/memory.hpp"
#include "parts/samples.hpp"
#include "real/programs.hpp"
#include "run/child.hpp"
#include "subjects/any_stack.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

namespace growstack::compare {
namespace {

constexpr std::size_t mebibyte = std::size_t{1024} * 1024;
constexpr std::size_t ordinary_thread = 8 * mebibyte;
constexpr std::size_t reserve = 4096 * mebibyte;
constexpr std::size_t guard = mebibyte / 16;

// ---- in the child -------------------------------------------------------------------------------

struct Run {
  bool ok = true;
  std::vector<double> milliseconds{};
  std::size_t given = 0;
  std::size_t deepest = 0;
  std::uint64_t faults = 0;
};

bool is_want_of_memory(const std::exception& error) {
  const auto* const failed = dynamic_cast<const std::system_error*>(&error);
  return dynamic_cast<const std::bad_alloc*>(&error) != nullptr ||
         (failed != nullptr && (failed->code() == std::errc::not_enough_memory ||
                                failed->code() == std::errc::resource_unavailable_try_again));
}

/// As large as asked for, or else half of that, and so on: not every way to make a stack lets it
/// have more than there is memory. A thread's is made when it runs, so it is run once.
std::unique_ptr<AnyStack> make_largest(const std::string& subject, Run& run) {
  for (;;) {
    try {
      auto stack = make_stack(subject, {.reserve = run.given, .guard = guard});
      stack->run([] {});
      return stack;
    } catch (const std::exception& error) {
      if (!is_want_of_memory(error) || run.given <= ordinary_thread) {
        throw;
      }
      run.given /= 2;
    }
  }
}

void run_on_stack(Program& program, const std::string& subject, Run& run) {
  const auto stack = make_largest(subject, run);
  stack->run([&] {
    const auto before = std::chrono::steady_clock::now();
    run.ok = program.run() && run.ok;
    run.milliseconds.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - before)
            .count());
  });
  run.deepest = stack->high_water();
  run.faults = stack->growth_events();
}

}  // namespace

/// {"program", "size", "subject", "bytes", "rounds", "warm"} to {"ok", "ms", "given", "deepest",
/// "faults"}.
nlohmann::json run_real_program(const nlohmann::json& request, Progress&) {
  const std::string subject = request.at("subject");
  const std::size_t size = request.at("size");
  if (request.at("warm")) {
    bench::warm_memory(stack_needed(size), pages_taken_by(subject, stack_needed(size)));
  }
  const auto program = program_named(request.at("program")).make(size);
  Run run{.given = request.at("bytes")};
  raise_limits_for_stacks(run.given);
  for (unsigned round = 0; round < request.at("rounds"); ++round) {
    run_on_stack(*program, subject, run);
  }
  return {{"ok", run.ok},
          {"ms", bench::median(run.milliseconds)},
          {"given", run.given},
          {"deepest", run.deepest},
          {"faults", run.faults}};
}

namespace {

// ---- in the parent ------------------------------------------------------------------------------

/// Letters, or levels: an ordinary thread dies of the fewer, too.
std::size_t input_size(const Session& session) {
  constexpr std::size_t full = 1'000'000;
  constexpr std::size_t quick = 250'000;
  return session.options().quick ? quick : full;
}

std::string title_of(const ProgramDescription& program, const Session& session) {
  return fmt::format("{} {}", grouped(std::uint64_t{input_size(session)}), program.title);
}

/// Who runs a program, and on how large a stack.
struct Participant {
  Subject subject;
  std::size_t bytes = reserve;
  const char* metric_prefix = "real_";

  [[nodiscard]] std::string title() const {
    return subject.name + (subject.name == glibc_thread_name ? " of " + in_units(bytes) : "");
  }
  [[nodiscard]] std::string limit_note() const { return stack_limit_note(subject, bytes); }
};

/// What is locked is there from the start, all of it: no more than the programs need, and not half
/// of the memory.
std::size_t most_locked(const Session& session) {
  const std::uint64_t most = std::min(std::uint64_t{stack_needed(input_size(session))},
                                      bench::meminfo_bytes("MemAvailable") / 2);
  return most / mebibyte * mebibyte;
}

std::vector<Participant> participants(const Session& session) {
  std::vector<Participant> all;
  for (const Subject& subject : session.stacks()) {
    if (subject.name == glibc_thread_name) {
      all.push_back({.subject = subject, .bytes = ordinary_thread});
      all.push_back({.subject = subject, .metric_prefix = "real_large_"});
    } else {
      all.push_back(
          {.subject = subject,
           .bytes = subject.strategy == Strategy::locked ? most_locked(session) : reserve});
    }
  }
  if (const auto split_stack = session.peer(split_stack_name)) {
    all.push_back({.subject = *split_stack, .bytes = 0});
  }
  return all;
}

/// `first`: the others get the memory that the one before them gave back, but for those that take
/// huge pages.
Answer ask(const Session& session, const ProgramDescription& program, const Participant& who,
           bool first) {
  constexpr unsigned most_rounds = 5;
  if (!who.subject.unsupported.empty()) {
    return {.failure = who.subject.unsupported};
  }
  nlohmann::json request{{"program", program.name},
                         {"size", input_size(session)},
                         {"rounds", std::min(session.rounds(3, 1), most_rounds)}};
  if (who.subject.name == split_stack_name) {
    request["task"] = "real";
    return ask_child("split_stack", request, session.progress());
  }
  request["subject"] = who.subject.name;
  request["bytes"] = who.bytes;
  request["warm"] = first || pages_taken_by(who.subject.name, stack_needed(input_size(session))) ==
                                 bench::Pages::huge;
  return ask_child("real", request, session.progress());
}

void add_rows(Session& session, const ProgramDescription& program, const Participant& who,
              const Answer& answer) {
  const auto add = [&](const char* what, std::optional<double> value, const char* unit,
                       const std::string& note) {
    session.add({.subject = who.subject.name,
                 .metric = fmt::format("{}{}_{}", who.metric_prefix, program.name, what),
                 .value = value,
                 .unit = unit,
                 .note = note});
  };
  if (!who.subject.unsupported.empty()) {
    add("ok", std::nullopt, "1/0", who.subject.unsupported);
    return;
  }
  if (!answer.failure.empty()) {
    add("ok", 0, "1/0", answer.whole_failure());
    return;
  }
  const std::string note = who.limit_note();
  add("ok", answer.result.at("ok").get<bool>() ? 1 : 0, "1/0", note);
  add("ms", answer.result.at("ms").get<double>(), "ms", note);
  const auto add_size = [&](const char* what, const char* member, const char* text) {
    const double bytes = answer.result.at(member);
    add(what, bytes > 0 ? std::optional(bytes) : std::nullopt, "bytes",
        bytes > 0 ? text : "nobody keeps count");
  };
  add_size("given", "given", "the size of the stack that it could have");
  add_size("stack", "deepest", "deepest commit");
  add("faults", answer.result.at("faults").get<double>(), "faults", note);
}

std::string in_mebibytes(double bytes) {
  return bytes > 0 ? grouped(bytes / static_cast<double>(mebibyte)) : "-";
}

void add_to_table(Table& table, const Participant& who, const Answer& answer) {
  if (!answer.failure.empty()) {
    table.add_sentence({"  " + who.title()}, answer.failure);
    return;
  }
  table.add({"  " + who.title(), answer.result.at("ok").get<bool>() ? "succeeds" : "WRONG RESULT",
             short_number(answer.result.at("ms").get<double>()),
             in_mebibytes(answer.result.at("given")), in_mebibytes(answer.result.at("deepest")),
             grouped(answer.result.at("faults").get<double>()),
             who.limit_note().empty() ? "" : "(*)"});
}

struct Score {
  std::vector<std::string> succeeded{};
  std::vector<std::string> died{};
  std::vector<std::string> refused{};
  double deepest = 0;

  void count(const Participant& who, const Answer& answer) {
    if (!answer.failure.empty()) {
      (answer.died ? died : refused).push_back(who.title());
    } else if (answer.result.at("ok")) {
      succeeded.push_back(who.title());
      const double used = answer.result.at("deepest");
      deepest = std::max(deepest, used < answer.result.at("given")
                                      ? used
                                      : 0);  // not what is all there from the start
    }
  }

  [[nodiscard]] std::string sentence(const std::string& program) const {
    std::string text = program + ":";
    if (!died.empty()) {
      text += fmt::format(" {} die{}.", listed(died), died.size() == 1 ? "s" : "");
    }
    if (!refused.empty()) {
      text += fmt::format(" {} could not begin.", listed(refused));
    }
    const std::string depth =
        deepest > 0 ? fmt::format(", with up to {} MiB of stack", in_mebibytes(deepest)) : "";
    const bool rest = succeeded.size() > 1 && !(died.empty() && refused.empty());
    return text + (succeeded.empty() ? " Nobody gets through."
                   : rest            ? fmt::format(" The others get through{}.", depth)
                                     : fmt::format(" {} get{} through{}.", listed(succeeded),
                                        succeeded.size() == 1 ? "s" : "", depth));
  }
};

/// Everybody with everything, and what there is to say afterwards.
class Contest {
 public:
  Contest(Session& session, std::vector<Participant> participants)
      : session_(session), participants_(std::move(participants)) {}

  void run(const ProgramDescription& program) {
    table_.add_heading(title_of(program, session_));
    Score score;
    bool first = true;
    for (const Participant& who : participants_) {
      session_.progress().say(fmt::format("real programs: {} on {}", program.name, who.title()));
      const Answer answer = ask(session_, program, who, std::exchange(first, false));
      add_rows(session_, program, who, answer);
      add_to_table(table_, who, answer);
      score.count(who, answer);
      grows_down_died_ =
          grows_down_died_ || (answer.died && who.subject.strategy == Strategy::grows_down);
      if (answer.failure.empty() && !who.limit_note().empty()) {
        limit_notes_.insert("(*) " + who.limit_note() + ".");
      }
    }
    sentences_.push_back(score.sentence(title_of(program, session_)));
  }

  void print() {
    session_.print(table_);
    if (grows_down_died_) {
      sentences_.emplace_back(why_grows_down_dies);
    }
    sentences_.insert(sentences_.end(), limit_notes_.begin(), limit_notes_.end());
    session_.print_sentences(sentences_);
  }

 private:
  Session& session_;
  std::vector<Participant> participants_;
  Table table_{
      {"program, run on", "outcome", "time, ms", "given, MiB", "used, MiB", "growth faults", ""},
      2};
  std::vector<std::string> sentences_;
  std::set<std::string> limit_notes_;
  bool grows_down_died_ = false;
};

}  // namespace

void compare_real_programs(Session& session) {
  std::vector<Participant> all = participants(session);
  if (all.empty()) {
    return;
  }
  Contest contest(session, std::move(all));
  for (const ProgramDescription& program : programs()) {
    contest.run(program);
  }
  session.print_title(
      "REAL PROGRAMS",
      fmt::format(
          "Recursion as deep as the input is long, each run in a process of its own. given: {} is "
          "asked for, or what "
          "memory and limits allow; {} is what an ordinary thread has. used: the deepest commit.",
          in_units(reserve), in_units(ordinary_thread)));
  contest.print();
}

}  // namespace growstack::compare
