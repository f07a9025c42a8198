// Real programs: what kills an ordinary thread, and what it takes to survive.
#include "group.hpp"

#include "child.hpp"
#include "parts/memory.hpp"
#include "parts/samples.hpp"
#include "programs.hpp"

#include <growstack/growstack.hpp>

#include <fmt/format.h>

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <system_error>

namespace growstack::compare {
namespace {

constexpr std::size_t mebibyte = std::size_t{1024} * 1024;
constexpr std::size_t thread_stack = 8 * mebibyte;
constexpr std::size_t reserve = 4096 * mebibyte;
constexpr std::size_t memory_needed = 1024 * mebibyte;  // a little more than the deepest program takes

// ---- in the child ----

struct Run {
  bool ok = true;
  std::vector<double> milliseconds{};
  std::size_t deepest = 0;
  std::uint32_t faults = 0;
};

void run_once(Program& program, Run& run) {
  const auto before = std::chrono::steady_clock::now();
  run.ok = program.run() && run.ok;
  run.milliseconds.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - before).count());
}

void run_on_stack(Program& program, Strategy strategy, Run& run) {
  Stack stack({.reserve = reserve, .strategy = strategy, .name = "real program"});
  call(stack, [&] { run_once(program, run); });
  run.deepest = stack.high_water_mark();
  run.faults = stack.counters().growth_faults;
}

void run_on_plain_thread(Program& program, Run& run) {
  struct Errand {
    Program& program;
    Run& run;
  } errand{program, run};
  pthread_attr_t attributes;
  pthread_t thread;
  int error = pthread_attr_init(&attributes);
  if (error == 0) {
    error = pthread_attr_setstacksize(&attributes, thread_stack);
  }
  if (error == 0) {
    error = pthread_create(
        &thread, &attributes,
        [](void* argument) -> void* {
          const auto& it = *static_cast<Errand*>(argument);
          run_once(it.program, it.run);
          return nullptr;
        },
        &errand);
  }
  if (error == 0) {
    error = pthread_join(thread, nullptr);
  }
  if (error != 0) {
    throw std::system_error(error, std::generic_category(), "plain thread");
  }
}

}  // namespace

/// {"program", "subject", "rounds"} to {"ok", "ms", "deepest", "faults"}.
nlohmann::json run_real_program(const nlohmann::json& request, Progress&) {
  const std::string subject = request.at("subject");
  const auto program = program_named(request.at("program")).make();
  bench::raise_stack_limit(reserve);
  Run run;
  for (unsigned round = 0; round < request.at("rounds"); ++round) {
    if (subject == pthread_name) {
      run_on_plain_thread(*program, run);
    } else {
      bench::warm_memory(memory_needed);
      run_on_stack(*program, strategy_named(subject), run);
    }
  }
  return {{"ok", run.ok}, {"ms", bench::median(run.milliseconds)}, {"deepest", run.deepest}, {"faults", run.faults}};
}

namespace {

// ---- in the parent ----

std::string metric(const ProgramDescription& program, const char* what) {
  return fmt::format("real_{}_{}", program.name, what);
}

void add_rows(Session& session, const ProgramDescription& program, const Subject& subject, const Answer& answer) {
  const auto add = [&](const char* what, std::optional<double> value, const char* unit, const std::string& note) {
    session.add({.subject = subject.name, .metric = metric(program, what), .value = value, .unit = unit, .note = note});
  };
  if (!subject.unsupported.empty()) {
    add("ok", std::nullopt, "1/0", subject.unsupported);
    return;
  }
  if (!answer.failure.empty()) {
    add("ok", 0, "1/0", answer.whole_failure());
    return;
  }
  const std::string note = stack_limit_note(subject, reserve);
  add("ok", answer.result.at("ok").get<bool>() ? 1 : 0, "1/0", note);
  add("ms", answer.result.at("ms").get<double>(), "ms", note);
  add("stack", answer.result.at("deepest").get<double>(), "bytes", "deepest commit");
  add("faults", answer.result.at("faults").get<double>(), "faults", note);
}

std::string title_of(const Subject& subject) {
  return subject.strategy ? subject.name : fmt::format("{} of {}", subject.name, in_units(thread_stack));
}

void add_to_table(Table& table, const Subject& subject, const Answer& answer) {
  if (!answer.failure.empty()) {
    table.add_sentence({"  " + title_of(subject)}, answer.failure);
    return;
  }
  const double deepest = answer.result.at("deepest");
  const std::string note = stack_limit_note(subject, reserve);
  table.add({"  " + title_of(subject), answer.result.at("ok").get<bool>() ? "succeeds" : "WRONG RESULT",
             short_number(answer.result.at("ms").get<double>()),
             subject.strategy ? grouped(deepest / static_cast<double>(mebibyte)) : "-",
             grouped(answer.result.at("faults").get<double>()), note.empty() ? "" : "(*)"});
}

struct Score {
  std::vector<std::string> succeeded{};
  std::vector<std::string> died{};
  std::vector<std::string> refused{};
  double deepest = 0;

  void count(const Subject& subject, const Answer& answer) {
    if (!answer.failure.empty()) {
      (answer.died ? died : refused).push_back(title_of(subject));
    } else if (answer.result.at("ok")) {
      succeeded.push_back(title_of(subject));
      deepest = std::max(deepest, answer.result.at("deepest").get<double>());
    }
  }

  [[nodiscard]] std::string sentence(const char* program) const {
    std::string text = succeeded.empty()
                           ? fmt::format("{}: nobody gets through.", program)
                           : fmt::format("{}: {} get{} through, with up to {} MiB of stack.", program, listed(succeeded),
                                         succeeded.size() == 1 ? "s" : "", grouped(deepest / static_cast<double>(mebibyte)));
    if (!died.empty()) {
      text += fmt::format(" {} die{}.", listed(died), died.size() == 1 ? "s" : "");
    }
    if (!refused.empty()) {
      text += fmt::format(" {} could not begin.", listed(refused));
    }
    return text;
  }
};

std::vector<Subject> participants(const Session& session) {
  std::vector<Subject> all;
  if (session.includes(pthread_name)) {
    all.push_back({.name = std::string(pthread_name), .description = {}, .least_kernel = {}});
  }
  const std::vector<Subject> strategies = session.strategies();
  all.insert(all.end(), strategies.begin(), strategies.end());
  return all;
}

}  // namespace

void compare_real_programs(Session& session) {
  const std::vector<Subject> subjects = participants(session);
  if (subjects.empty()) {
    return;
  }
  Table table({"program, run on", "outcome", "time, ms", "stack, MiB", "growth faults", ""}, 2);
  std::vector<std::string> sentences;
  std::string limit_note;
  bool grows_down_died = false;
  constexpr unsigned most_rounds = 5;
  const unsigned rounds = std::min(session.rounds(3, 1), most_rounds);
  for (const ProgramDescription& program : programs()) {
    table.add_heading(program.title);
    Score score;
    for (const Subject& subject : subjects) {
      session.progress().say(fmt::format("real programs: {} on {}", program.name, title_of(subject)));
      const Answer answer =
          subject.unsupported.empty()
              ? ask_child("real", {{"program", program.name}, {"subject", subject.name}, {"rounds", rounds}},
                          session.progress())
              : Answer{.failure = subject.unsupported};
      add_rows(session, program, subject, answer);
      add_to_table(table, subject, answer);
      score.count(subject, answer);
      grows_down_died = grows_down_died || (answer.died && subject.strategy == Strategy::grows_down);
      limit_note = limit_note.empty() && answer.failure.empty() ? stack_limit_note(subject, reserve) : limit_note;
    }
    sentences.push_back(score.sentence(program.title));
  }
  if (grows_down_died) {
    sentences.emplace_back(why_grows_down_dies);
  }
  if (!limit_note.empty()) {
    sentences.push_back("(*) " + limit_note + ".");
  }
  session.print_title("REAL PROGRAMS",
                      fmt::format("Recursion as deep as the input is long, each run in a process of its own; {} reserved "
                                  "for every growing stack. stack: the deepest commit.",
                                  in_units(reserve)));
  session.print(table);
  session.print_sentences(sentences);
}

}  // namespace growstack::compare
