// What does a call cost in steady state: on a stack that has grown, compared with the stack of a
// thread, which never has to grow?
#include "growth/depths.hpp"
#include "parts/at_once.hpp"
#include "parts/descent.hpp"
#include "parts/instructions.hpp"
#include "parts/memory.hpp"
#include "run/measurement.hpp"
#include "run/turns.hpp"
#include "subjects/any_stack.hpp"

#include <growstack/handler/pages.hpp>

#include <array>

namespace growstack::compare {
namespace {

using handler::page_size;

constexpr std::size_t grown = mebibyte;
/// In the middle of what growth has committed, and well above its end.
constexpr std::size_t calls_from = 512 * kibibyte;
constexpr std::size_t reserve = grown + 256 * kibibyte;
constexpr std::size_t guard = 64 * kibibyte;
constexpr unsigned frames = 16;
constexpr unsigned calls = 1000;
const std::string base_name(glibc_thread_name);

// ---- in the child -------------------------------------------------------------------------------

struct Caller : Contender {
  std::vector<double> instructions{};  // a call of all frames
  std::string counter_error{};
};

/// Calls itself so often. The variable makes each frame have a memory access of its own.
[[gnu::noinline]] unsigned go_down(unsigned more) {
  volatile unsigned here = more;
  const unsigned below = more == 0 ? 0 : go_down(more - 1);
  return below + here;
}

[[gnu::noinline]] void call_often() {
  // The compiler must not know the depth, or it would make a function of its own for it.
  volatile unsigned depth = frames - 1;
  for (unsigned each = 0; each < calls; ++each) {
    static_cast<void>(go_down(depth));  // not left out, because it writes to volatile variables
  }
}

/// Moves the stack pointer some bytes below the start of a page: to the same place for everybody,
/// whatever lies above.
[[gnu::noinline]] void call_often_from(std::size_t below_page_start) {
  constexpr std::size_t alignment = 16;
  const std::uintptr_t here = bench::address_of(__builtin_alloca(alignment));
  const std::size_t distance = (here + below_page_start) % page_size();
  *static_cast<volatile char*>(__builtin_alloca(distance + alignment)) = 1;
  call_often();
}

/// Takes one sample. Where a frame lies in its page and in its cache line makes a difference of
/// some percent. A sample is therefore the sum over a page in 16 steps, and over the four positions
/// that a frame can have in a line.
void call_from_all_offsets() {
  constexpr std::size_t steps = 16;
  constexpr std::size_t positions_in_line = 4;
  constexpr std::size_t frame_alignment = 16;
  for (std::size_t step = 0; step < steps; ++step) {
    call_often_from(step * page_size() / steps + step % positions_in_line * frame_alignment);
  }
}

constexpr double calls_of_a_sample = 16.0 * calls;

void count_instructions(Caller& caller) {
  const bench::InstructionCounter counter;  // of the thread that runs here
  caller.counter_error = counter.error();
  if (counter.error().empty()) {
    const std::uint64_t before = counter.count();
    call_from_all_offsets();
    caller.instructions.push_back(static_cast<double>(counter.count() - before) /
                                  calls_of_a_sample);
  }
}

void time_calls(Caller& caller) {
  call_from_all_offsets();  // not timed, because the first calls meet cold caches
  const auto before = bench::Clock::now();
  call_from_all_offsets();
  caller.nanoseconds.push_back(bench::nanoseconds_since(before) / calls_of_a_sample);
}

/// Measures on a stack of its own each time, because it makes a difference which memory that gets.
void measure_once(Caller& caller) {
  const auto stack = make_stack(caller.subject, {.reserve = reserve, .guard = guard});
  stack->run([&] {
    bench::descend(stack->base() - grown);
    bench::descend(stack->base() - calls_from, [&] {
      time_calls(caller);
      count_instructions(caller);
    });
  });
}

/// Answers for each name {"ns", "ratio", "counter_error", "instructions", "instructions_ratio"}.
nlohmann::json measure(const nlohmann::json& request, Progress& progress) {
  raise_limits_for_stacks(reserve);
  bench::stay_on_this_processor();
  bench::warm_memory(4 * reserve);
  auto callers = contenders<Caller>(request.at("subjects"), base_name);
  Turns(progress).take(request.at("rounds"), "steady call:", callers, measure_once);
  const Caller& base = *find(callers, base_name);
  Results results;
  for (const Caller& caller : callers) {
    nlohmann::json& result = results.of(caller);
    result.update(times(caller, base));
    result["counter_error"] = caller.counter_error;
    if (!caller.instructions.empty()) {
      result["instructions"] = bench::median(caller.instructions);
    }
    set(result, "instructions_ratio", bench::median_ratio(caller.instructions, base.instructions));
  }
  return results.all();
}

// ---- in the parent ------------------------------------------------------------------------------

const std::string no_base = base_name + " could not be measured";

std::string why_not_counted(const Outcome& its) {
  const std::string error = its.text("counter_error");
  return error.empty()
             ? no_base
             : fmt::format("this machine counts no instructions (perf_event_open: {})", error);
}

std::vector<Row> rows(const Outcome& its, const Outcomes&) {
  return {
      its.row("steady_call_ratio", "ratio", "ratio",
              fmt::format("time of a call {} frames deep, to {}", frames, base_name), no_base),
      its.row("steady_call_instructions_ratio", "instructions_ratio", "ratio",
              "instructions of the same call in user mode, to " + base_name, why_not_counted(its))};
}

constexpr std::array columns{Column{"ns", "ns", decimals<1>},
                             Column{"thread = 1", "ratio", decimals<3>},
                             Column{"instructions", "instructions", decimals<1>},
                             Column{"thread = 1", "instructions_ratio", decimals<3>}};

std::vector<std::string> remarks(const Outcomes& all) {
  const Outcome* const twin = find(all, again(base_name));
  const bool counted = twin == nullptr || twin->number("instructions");
  return {counted ? "" : "There are no instructions: " + why_not_counted(*twin) + "."};
}

const Registered registered(
    {.name = "steady_call",
     .group = "growth",
     .title = "A CALL IN STEADY STATE",
     .what =
         "A small function calls itself, 16 frames, in a loop, 512 KiB deep on a stack that has "
         "grown to 1 MiB. Once its memory is committed, no code of ours runs in a call. The "
         "figures are medians of rounds in which all take turns, each time on a fresh stack. A "
         "sample is the mean over 16 places in a page where the stack pointer may start. "
         "glibc_thread_again is glibc_thread measured twice: smaller differences mean nothing.",
     .base = glibc_thread_name,
     .rounds = {75, 8},
     .measure = measure,
     .rows = rows,
     .lines = "a call, 16 frames",
     .columns = columns,
     .remarks = remarks,
     .aims = []() -> std::vector<Aim> {
       return {{"a call in steady state, pthread stack = 1", value_of("steady_call_ratio"),
                for_all(1.02)}};
     }});

}  // namespace
}  // namespace growstack::compare
