// A call in steady state: on a stack that has grown, beside one of a thread, which never had to.
#include "run/group.hpp"

#include "parts/descent.hpp"
#include "parts/instructions.hpp"
#include "parts/memory.hpp"
#include "parts/samples.hpp"
#include "parts/turns.hpp"
#include "run/side_by_side.hpp"
#include "subjects/any_stack.hpp"

#include <growstack/handler/pages.hpp>

#include <fmt/format.h>

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <vector>

namespace growstack::compare {
namespace {

using handler::page_size;

constexpr std::size_t kibibyte = 1024;
constexpr std::size_t grown = 1024 * kibibyte;
constexpr std::size_t calls_from =
    512 * kibibyte;  // in the middle of what growth has committed, and well above its end
constexpr std::size_t reserve = grown + 256 * kibibyte;
constexpr std::size_t guard = 64 * kibibyte;
constexpr unsigned frames = 16;
constexpr unsigned calls = 1000;
const std::string again_name = std::string(glibc_thread_name) + "_again";

// ---- in the child -------------------------------------------------------------------------------

/// So many frames below this one. The variable makes each have a memory access of its own.
[[gnu::noinline]] unsigned go_down(unsigned more) {
  volatile unsigned here = more;
  const unsigned below = more == 0 ? 0 : go_down(more - 1);
  return below + here;
}

[[gnu::noinline]] void call_often() {
  volatile unsigned depth =
      frames - 1;  // not known to the compiler, which would make a function of its own for it
  for (unsigned each = 0; each < calls; ++each) {
    static_cast<void>(
        go_down(depth));  // what it does to its variables keeps it from being left out
  }
}

/// With the stack pointer some bytes below the start of a page: the same place for everybody's,
/// whatever lies above.
[[gnu::noinline]] void call_often_from(std::size_t below_page_start) {
  constexpr std::size_t alignment = 16;
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_alloca(alignment));
  const std::size_t distance = (here + below_page_start) % page_size();
  *static_cast<volatile char*>(__builtin_alloca(distance + alignment)) = 1;
  call_often();
}

/// All starting offsets. Where in its page, and in its cache line, a frame lies makes a difference
/// of some percent: a sample is the sum over a page in 16 steps, and over the four positions that a
/// frame can have in a line.
void call_from_all_offsets() {
  constexpr std::size_t steps = 16;
  constexpr std::size_t positions_in_line = 4;
  constexpr std::size_t frame_alignment = 16;
  for (std::size_t step = 0; step < steps; ++step) {
    call_often_from(step * page_size() / steps + step % positions_in_line * frame_alignment);
  }
}

constexpr double calls_of_a_sample = 16.0 * calls;

struct Contender {
  std::string name;
  std::string subject;                // what it is: the base takes part twice
  std::vector<double> nanoseconds{};  // a call of all frames
  std::vector<double> instructions{};
  std::string counter_error{};
  std::string refusal{};
};

void count_instructions(Contender& contender) {
  const bench::InstructionCounter counter;  // of the thread that runs here
  contender.counter_error = counter.error();
  if (counter.error().empty()) {
    const std::uint64_t before = counter.count();
    call_from_all_offsets();
    contender.instructions.push_back(static_cast<double>(counter.count() - before) /
                                     calls_of_a_sample);
  }
}

void time_calls(Contender& contender) {
  call_from_all_offsets();  // not timed: the first ones meet cold caches
  const auto before = std::chrono::steady_clock::now();
  call_from_all_offsets();
  const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - before;
  contender.nanoseconds.push_back(taken.count() / calls_of_a_sample);
}

/// On a stack of its own each time: which memory it gets makes a difference, too.
void measure_once(Contender& contender) {
  const auto stack = make_stack(contender.subject, {.reserve = reserve, .guard = guard});
  stack->run([&] {
    bench::descend(stack->base() - grown);
    bench::descend(stack->base() - calls_from, [&] {
      time_calls(contender);
      count_instructions(contender);
    });
  });
}

/// A thread is started on the processor that has nothing to do, and that one may be a quarter
/// faster or slower at the time: all stay on this one, threads that are made from now on included.
void stay_on_this_processor() {
  cpu_set_t only_this;
  CPU_ZERO(&only_this);
  CPU_SET(static_cast<std::size_t>(std::max(0, sched_getcpu())), &only_this);
  if (sched_setaffinity(0, sizeof only_this, &only_this) != 0) {
    throw std::system_error(errno, std::generic_category(), "sched_setaffinity");
  }
}

/// The base takes part twice.
std::vector<Contender> contenders_of(const nlohmann::json& subjects) {
  std::vector<Contender> contenders;
  for (const std::string subject : subjects) {
    contenders.push_back({.name = subject, .subject = subject});
  }
  contenders.push_back({.name = again_name, .subject = std::string(glibc_thread_name)});
  return contenders;
}

nlohmann::json result_of(const Contender& contender, const Contender& base) {
  if (!contender.refusal.empty()) {
    return {{"refusal", contender.refusal}};
  }
  nlohmann::json result{{"ns", bench::median(contender.nanoseconds)},
                        {"counter_error", contender.counter_error}};
  if (const auto ratio = bench::median_ratio(contender.nanoseconds, base.nanoseconds)) {
    result["ratio"] = *ratio;
  }
  if (const auto ratio = bench::median_ratio(contender.instructions, base.instructions)) {
    result["instructions"] = bench::median(contender.instructions);
    result["instructions_ratio"] = *ratio;
  }
  return result;
}

}  // namespace

/// {"subjects", "rounds"} to {subject: {"ns", "ratio", "counter_error", "instructions",
/// "instructions_ratio"} or
/// {"refusal"}}. glibc_thread is one of them, and its result has {"again": ...}.
nlohmann::json measure_steady_call(const nlohmann::json& request, Progress& progress) {
  raise_limits_for_stacks(reserve);
  stay_on_this_processor();
  bench::warm_memory(4 * reserve);
  const unsigned rounds = request.at("rounds");
  std::vector<Contender> contenders = contenders_of(request.at("subjects"));
  std::mt19937 order;  // the same orders every time
  for (unsigned round = 0; round < rounds; ++round) {
    progress.say("steady call:", round, rounds);
    bench::take_turns(contenders, order, measure_once);
  }
  const auto base = std::find_if(contenders.begin(), contenders.end(), [](const Contender& each) {
    return each.name == glibc_thread_name;
  });
  nlohmann::json results;
  for (const Contender& contender : contenders) {
    results[contender.name] = result_of(contender, *base);
  }
  results[std::string(glibc_thread_name)]["again"] = results.at(again_name);
  return results;
}

namespace {

// ---- in the parent ------------------------------------------------------------------------------

const std::vector<std::string> metrics{"steady_call_ratio", "steady_call_instructions_ratio"};

std::optional<double> number(const nlohmann::json& result, const char* member) {
  const auto found = result.find(member);
  return found != result.end() ? std::optional(found->get<double>()) : std::nullopt;
}

std::string uncounted(const Outcome& outcome) {
  return fmt::format("this machine counts no instructions (perf_event_open: {})",
                     outcome.result.at("counter_error").get<std::string>());
}

void add_rows(Session& session, const Outcome& outcome) {
  const std::string& subject = outcome.subject.name;
  if (!outcome.ok()) {
    session.add_missing(subject, metrics, outcome.failure);
    return;
  }
  const std::string no_base = fmt::format("{} could not be measured", glibc_thread_name);
  const auto add = [&](const char* metric, const char* member, const std::string& note,
                       const std::string& why_not) {
    const auto value = number(outcome.result, member);
    session.add({.subject = subject,
                 .metric = metric,
                 .value = value,
                 .unit = "ratio",
                 .note = value ? note : why_not});
  };
  add("steady_call_ratio", "ratio",
      fmt::format("time of a call {} frames deep, to {}", frames, glibc_thread_name), no_base);
  const bool counts = outcome.result.at("counter_error").get<std::string>().empty();
  add("steady_call_instructions_ratio", "instructions_ratio",
      fmt::format("instructions of the same call in user mode, to {}", glibc_thread_name),
      counts ? no_base : uncounted(outcome));
}

std::string cell(const std::optional<double>& value, const char* format) {
  return value ? fmt::format(fmt::runtime(format), *value) : "-";
}

void add_to_table(Table& table, const std::string& name, const nlohmann::json& result) {
  table.add({name, cell(number(result, "ns"), "{:.1f}"), cell(number(result, "ratio"), "{:.3f}"),
             cell(number(result, "instructions"), "{:.1f}"),
             cell(number(result, "instructions_ratio"), "{:.3f}")});
}

Table table_of(const SideBySide& found) {
  Table table(
      {fmt::format("a call, {} frames", frames), "ns", "thread = 1", "instructions", "thread = 1"},
      1);
  for (const Outcome& outcome : found.outcomes) {
    if (outcome.ok()) {
      add_to_table(table, outcome.subject.name, outcome.result);
    } else {
      table.add_sentence({outcome.subject.name}, outcome.failure);
    }
  }
  if (!found.base.is_null()) {
    add_to_table(table, std::string(glibc_thread_name), found.base);
    add_to_table(table, again_name, found.base.at("again"));
  }
  return table;
}

std::vector<std::string> what_to_see(const SideBySide& found) {
  double farthest = 1;
  std::string who;
  std::string no_count;
  for (const Outcome& outcome : found.outcomes) {
    const auto ratio = outcome.ok() ? number(outcome.result, "ratio") : std::nullopt;
    if (ratio && bench::from_one(*ratio) >= bench::from_one(farthest)) {
      farthest = *ratio;
      who = outcome.subject.name;
    }
    if (outcome.ok() && !number(outcome.result, "instructions")) {
      no_count = uncounted(outcome);
    }
  }
  std::vector<std::string> sentences;
  const auto again = found.base.is_null() ? std::nullopt : number(found.base.at("again"), "ratio");
  if (again && !who.empty()) {
    sentences.push_back(fmt::format(
        "Once its memory is committed, no code of ours runs in a call: of the ratios to a thread's "
        "stack the one "
        "farthest from 1 is {:.3f}, of {}; a thread's stack measured twice comes to {:.3f}.",
        farthest, who, *again));
  }
  sentences.push_back(
      no_count.empty() ? "" : "Of the instructions there is no ratio: " + no_count + ".");
  return sentences;
}

}  // namespace

void compare_steady_call(Session& session) {
  const std::vector<Subject> subjects = session.strategies();
  if (subjects.empty()) {
    return;
  }
  const SideBySide found = measure_side_by_side(session, "steady_call", subjects, glibc_thread_name,
                                                session.rounds(75, 8));
  for (const Outcome& outcome : found.outcomes) {
    add_rows(session, outcome);
  }
  session.print_title("A CALL IN STEADY STATE",
                      fmt::format("A small function that calls itself, {} frames, in a loop, {} "
                                  "deep on a stack that has grown to {}, and on "
                                  "a thread's. Medians of rounds in which all take turns, each "
                                  "time on a fresh stack; a sample is the mean "
                                  "over 16 places where the stack pointer may start in a page.",
                                  frames, in_units(calls_from), in_units(grown)));
  session.print(table_of(found));
  session.print_sentences(what_to_see(found));
}

}  // namespace growstack::compare
