// Which programs that recurse deeply kill an ordinary thread, and which stacks let them succeed?
#include "parts/clock.hpp"
#include "parts/memory.hpp"
#include "parts/samples.hpp"
#include "real/programs.hpp"
#include "run/measurement.hpp"
#include "subjects/any_stack.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <new>
#include <set>
#include <system_error>

namespace growstack::compare {
namespace {

constexpr std::size_t ordinary_thread = 8 * mebibyte;
constexpr std::size_t reserve = 4096 * mebibyte;
constexpr std::size_t guard = mebibyte / 16;

// ---- in the child -------------------------------------------------------------------------------

bool is_want_of_memory(const std::exception& error) {
  const auto* const failed = dynamic_cast<const std::system_error*>(&error);
  return dynamic_cast<const std::bad_alloc*>(&error) != nullptr ||
         (failed != nullptr && (failed->code() == std::errc::not_enough_memory ||
                                failed->code() == std::errc::resource_unavailable_try_again));
}

/// Makes a stack of so many bytes, or of half of that, and so on: not every way to make a stack
/// lets it have more than there is memory. Runs it once, because a thread's stack is made when it
/// runs.
std::unique_ptr<AnyStack> make_largest(const std::string& subject, std::size_t& bytes) {
  for (;;) {
    try {
      auto stack = make_stack(subject, {.reserve = bytes, .guard = guard});
      stack->run([] {});
      return stack;
    } catch (const std::exception& error) {
      if (!is_want_of_memory(error) || bytes <= ordinary_thread) {
        throw;
      }
      bytes /= 2;
    }
  }
}

/// Answers {"program", "size", "subject", "bytes", "rounds", "warm"} with {"ok", "ms", "given",
/// "deepest", "faults"}.
nlohmann::json measure(const nlohmann::json& request, Progress&) {
  const std::string subject = request.at("subject");
  const std::size_t size = request.at("size");
  if (request.at("warm")) {
    bench::warm_memory(stack_needed(size), pages_taken_by(subject, stack_needed(size)));
  }
  const auto program = program_named(request.at("program")).make(size);
  std::size_t given = request.at("bytes");
  raise_limits_for_stacks(given);
  bool ok = true;
  std::vector<double> milliseconds;
  std::size_t deepest = 0;
  std::uint64_t faults = 0;
  for (unsigned round = 0; round < request.at("rounds"); ++round) {
    const auto stack = make_largest(subject, given);
    stack->run([&] {
      constexpr double nanoseconds_per_ms = 1e6;
      const auto before = bench::Clock::now();
      ok = program() && ok;
      milliseconds.push_back(bench::nanoseconds_since(before) / nanoseconds_per_ms);
    });
    deepest = stack->high_water();
    faults = stack->growth_events();
  }
  return {{"ok", ok ? 1 : 0},
          {"ms", bench::median(milliseconds)},
          {"given", given},
          {"deepest", deepest},
          {"faults", faults}};
}

// ---- in the parent ------------------------------------------------------------------------------

/// Returns the size of the stacks on which a subject runs the programs. Most have one size; a
/// thread also has the ordinary one.
std::vector<std::size_t> sizes(const Subject& subject, std::size_t input) {
  if (subject.name == glibc_thread_name) {
    return {ordinary_thread, reserve};
  }
  if (is_strategy(subject.name, needs_lock_limit)) {
    // All of it is in memory from the start: no more than the programs need, or half of the memory.
    const std::uint64_t most =
        std::min(std::uint64_t{stack_needed(input)}, bench::meminfo_bytes("MemAvailable") / 2);
    return {most / mebibyte * mebibyte};
  }
  return {reserve};
}

/// Runs one program on one stack. The first one that runs warms the memory; those that follow get
/// the memory that the one before them gave back, unless they take huge pages.
Outcome run(const Session& session, const Subject& subject, const ProgramDescription& program,
            std::size_t input, std::size_t bytes, bool is_first) {
  constexpr unsigned most_rounds = 5;
  const bool in_huge_pages =
      pages_taken_by(subject.name, stack_needed(input)) == bench::Pages::huge;
  const nlohmann::json request{{"task", "real"},
                               {"program", program.name},
                               {"size", input},
                               {"rounds", std::min(session.rounds(3, 1), most_rounds)},
                               {"subject", subject.name},
                               {"bytes", bytes},
                               {"warm", is_first || in_huge_pages}};
  session.progress().say(fmt::format("real programs: {} on {}", program.name, subject.name));
  Outcome outcome = subject.name == split_stack_name ? ask_program(session, subject, request)
                                                     : ask_one("real", session, subject, request);
  outcome.request = request;
  outcome.section = fmt::format("{} {}", grouped(std::uint64_t{input}), program.title);
  if (subject.name == glibc_thread_name) {
    outcome.name += " of " + in_units(bytes);
  }
  if (outcome.ok()) {
    outcome.result["limits"] = stack_limit_note(subject, bytes);
  } else {
    outcome.name = fmt::format("{} on {}", program.name, outcome.name);
  }
  return outcome;
}

Outcomes ask(const Measurement&, const Session& session, const std::vector<Subject>& subjects) {
  const std::size_t input = session.options().quick ? 250'000 : 1'000'000;
  Outcomes all;
  for (const ProgramDescription& program : programs()) {
    const std::size_t first = all.size();
    for (const Subject& subject : subjects) {
      for (const std::size_t bytes : sizes(subject, input)) {
        all.push_back(run(session, subject, program, input, bytes, all.size() == first));
      }
    }
  }
  return all;
}

std::vector<Row> rows(const Outcome& its, const Outcomes&) {
  const bool is_large_thread =
      its.subject.name == glibc_thread_name && its.request.at("bytes") == reserve;
  const std::string program = its.request.at("program");
  const auto metric = [&](const char* what) {
    return fmt::format("{}{}_{}", is_large_thread ? "real_large_" : "real_", program, what);
  };
  if (!its.ok()) {  // a program that died was measured, too
    const bool died = its.subject.unsupported.empty();
    return {its.row(metric("ok"), died ? std::optional(0.0) : std::nullopt, "1/0", its.failure)};
  }
  const std::string limits = its.text("limits");
  const auto size = [&](const char* what, const char* member, const char* note) {
    const auto bytes = its.number(member);
    return its.row(metric(what), bytes > 0.0 ? bytes : std::nullopt, "bytes", note,
                   "nobody counts it");
  };
  return {its.row(metric("ok"), "ok", "1/0", limits), its.row(metric("ms"), "ms", "ms", limits),
          size("given", "given", "the size of the stack that it could have"),
          size("stack", "deepest", "deepest commit"),
          its.row(metric("faults"), "faults", "faults", limits)};
}

constexpr std::array columns{Column{"right", "ok", yes_or_no},
                             Column{"time, ms", "ms", short_number},
                             Column{"given, MiB", "given", grouped, mebibyte},
                             Column{"used, MiB", "deepest", grouped, mebibyte},
                             Column{"growth faults", "faults", grouped},
                             Column{"limits", "limits"}};

const Registered registered(
    {.name = "real",
     .group = "real",
     .title = "REAL PROGRAMS",
     .what = "Programs that recurse as deep as their input is long, each run in a process of its "
             "own, on 1,000,000 letters or levels (250,000 with --quick). given: the size of the "
             "stack; 4 GiB is asked for, or what memory and limits allow. An ordinary thread has 8 "
             "MiB. used: the deepest commit. 0: nobody counts it.",
     .subjects = stacks_and_split_stack,
     .ask = ask,
     .measure = measure,
     .rows = rows,
     .lines = "program, run on",
     .columns = columns,
     .aims = []() -> std::vector<Aim> {
       const std::string base(name(baseline));
       const Noise noise = noise_in(base, "grow_ratio_again_64MiB");
       return {
           {"std::regex, demand_paging = 1", ratio_to(base, "real_regex_ms"), for_all(1.0), noise},
           {"JSON, demand_paging = 1", ratio_to(base, "real_json_ms"), for_all(1.0), noise}};
     }});

}  // namespace
}  // namespace growstack::compare
