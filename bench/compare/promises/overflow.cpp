// Promises at the end of a stack: who notices that it was left, before somebody else's memory is
// written to?
#include "parts/descent.hpp"
#include "jump.hpp"
#include "worker.hpp"

#include <growstack/handler/pages.hpp>

#include <fmt/format.h>

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <fstream>

namespace growstack::compare::promises {
namespace {

constexpr std::size_t small_stack = mib;

/// No neighbour is looked for further down.
constexpr std::size_t neighbourhood = mib;

// ---- a neighbour --------------------------------------------------------------------------------

struct Mapping {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  bool writable = false;
};

/// Lowest address first.
std::vector<Mapping> mappings() {
  std::vector<Mapping> all;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    Mapping each;
    std::array<char, 5> access{};
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %4s", &each.begin, &each.end,
                    access.data()) == 3) {
      each.writable = access[1] == 'w';
      all.push_back(each);
    }
  }
  return all;
}

/// The end of a writable mapping right below `address`, or of the hole there, in which one is then
/// made. Memory that allows nothing, as a guard, is stepped over. 0 if there is nothing but that in
/// the neighbourhood.
std::uintptr_t map_neighbour(std::uintptr_t address) {
  const std::vector<Mapping> all = mappings();
  std::uintptr_t top = handler::page_up(address);
  for (auto each = all.rbegin(); each != all.rend() && top + neighbourhood > address; ++each) {
    if (each->begin >= top) {
      continue;
    }
    if (each->end < top) {
      break;  // a hole
    }
    if (each->writable && top < handler::page_up(address)) {
      return top;
    }
    top = each->begin;
  }
  if (top + neighbourhood <= address) {
    return 0;
  }
  void* const wanted = reinterpret_cast<void*>(top - guard_bytes);
  void* const mapped = mmap(wanted, guard_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  return mapped == wanted ? top : 0;
}

using Stacks = std::vector<std::unique_ptr<AnyStack>>;

/// Some, of which one lies right below another if that is how its maker places them.
Stacks some_stacks(const Question& question) {
  constexpr std::size_t count = 4;
  Stacks all;
  for (std::size_t index = 0; index < count; ++index) {
    all.push_back(make(question.subject, small_stack));
    all.back()->run([] {});
  }
  return all;
}

/// The nearest stack that begins below another's guard; 0 for none in the neighbourhood.
std::uintptr_t next_base(const AnyStack& stack, const Stacks& all) {
  std::uintptr_t nearest = 0;
  for (const auto& other : all) {
    if (other.get() != &stack && other->base() <= stack.floor() && other->base() > nearest) {
      nearest = other->base();
    }
  }
  return nearest + neighbourhood > stack.floor() ? nearest : 0;
}

AnyStack& one_with_a_neighbour(const Stacks& all) {
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const auto& each) { return next_base(*each, all) != 0; });
  return found == all.end() ? *all.front() : **found;
}

// ---- leaving the stack --------------------------------------------------------------------------

/// What a worker leaves behind.
struct Trace {
  std::atomic<std::uintptr_t> floor{0};
  std::atomic<std::uintptr_t> neighbour{
      0};  ///< where it ends: its highest byte is right below; 0 for none
  std::atomic<std::uintptr_t> lowest_written{UINTPTR_MAX};
  std::atomic<bool> arrived{false};
};

[[noreturn]] void end_at_once() {
  syscall(SYS_exit_group, 0);
  __builtin_unreachable();
}

/// Page by page, the way a recursion goes, until it dies or `lowest` is passed.
[[gnu::noinline]] void run_down(std::uintptr_t lowest, Trace& trace) {
  constexpr std::size_t alignment = 16;
  std::uintptr_t here = UINTPTR_MAX;
  while (here > lowest) {
    auto* const frame =
        static_cast<volatile char*>(__builtin_alloca(handler::page_size() - alignment));
    *frame = 1;
    here = reinterpret_cast<std::uintptr_t>(frame);
    trace.lowest_written = here;
  }
  end_at_once();
}

std::uintptr_t find_neighbour(const AnyStack& stack, const Stacks& all) {
  const std::uintptr_t base = next_base(stack, all);
  return base != 0 ? base : map_neighbour(stack.floor());
}

void begin(const AnyStack& stack, const Stacks& all, Trace& trace) {
  trace.floor = stack.floor();
  trace.neighbour = find_neighbour(stack, all);
}

/// Within the neighbour, or, without one, below where a guard of the size that was asked for ends.
std::uintptr_t landing(const Trace& trace) {
  constexpr std::size_t well_inside = 2 * kib;
  return (trace.neighbour != 0 ? trace.neighbour.load() : trace.floor - guard_bytes) - well_inside;
}

Fate run_past_the_end(const Question& question, Trace& trace) {
  return in_worker([&] {
    const Stacks all = some_stacks(question);
    AnyStack& stack = one_with_a_neighbour(all);
    stack.run([&] {
      begin(stack, all, trace);
      run_down(landing(trace), trace);
    });
    return nlohmann::json();
  });
}

std::string memory_below(const Trace& trace) {
  return trace.neighbour == 0
             ? fmt::format("no other memory within {} MiB below", neighbourhood / mib)
             : fmt::format("{} KiB below lay other memory", (trace.floor - trace.neighbour) / kib);
}

bool reported(const Fate& fate) { return fate.errors.find("stack overflow") != std::string::npos; }

Cell report_cell(const Fate& fate) { return reported(fate) ? yes() : no(); }

Cells ask_overflow(const Question& question) {
  const Shared<Trace> trace;
  const Fate fate = run_past_the_end(question, *trace);
  if (!fate.failure.empty() || fate.hung) {
    const Cell cell = survival(fate);
    return {{"overflow_detected", cell}, {"overflow_reported", cell}, {"neighbour_safe", cell}};
  }
  const bool left = trace->lowest_written < trace->floor;
  const std::size_t below = left ? trace->floor - trace->lowest_written : 0;
  const bool wrote = trace->neighbour != 0 && trace->lowest_written < trace->neighbour;
  Cell detected =
      left ? no("no", fmt::format("wrote {} bytes below its floor", below)) : yes(fate.word());
  const std::size_t early = left ? 0 : trace->lowest_written - trace->floor;
  if (early > 2 * handler::page_size()) {
    detected.note = fmt::format("{} KiB before its floor", early / kib);
  }
  return {{"overflow_detected", std::move(detected)},
          {"overflow_reported", report_cell(fate)},
          {"neighbour_safe", wrote                   ? no("written", memory_below(*trace))
                             : trace->neighbour == 0 ? yes("yes", memory_below(*trace))
                                                     : yes()}};
}

// ---- a frame that is larger than the guard ------------------------------------------------------

Trace* trace_of_jump = nullptr;

void arrived() {
  trace_of_jump->arrived = true;
  end_at_once();
}

Cell jump_over_the_guard(const Question& question, void (*jump)(std::size_t, void (*)())) {
  const Shared<Trace> trace;
  trace_of_jump = &*trace;
  const Fate fate = in_worker([&] {
    const Stacks all = some_stacks(question);
    AnyStack& stack = one_with_a_neighbour(all);
    stack.run([&] {
      begin(stack, all, *trace);
      constexpr std::size_t last_frames = 16 * kib;
      bench::descend(stack.floor() + last_frames, [&] {
        jump(reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) - landing(*trace),
             arrived);
      });
    });
    return nlohmann::json();
  });
  if (!fate.failure.empty() || fate.hung) {
    return survival(fate);
  }
  if (trace->arrived) {
    return no("written", memory_below(*trace));
  }
  return yes(fate.word(), trace->neighbour == 0 ? memory_below(*trace)
                          : reported(fate)      ? ""
                                                : "not reported");
}

Cells ask_jumps(const Question& question) {
  return {{"jump_detected", jump_over_the_guard(question, jump_unprobed)},
          {"probed_jump_detected", jump_over_the_guard(question, jump_probed)}};
}

}  // namespace

Family promises_of_the_end() {
  return {.title = "The end of a stack",
          .what_was_done =
              "Four stacks of 1 MiB, with a guard of 64 KiB where it can be chosen; one that has "
              "another right below was "
              "used, or else memory was mapped right below it, so that there is a neighbour. Run "
              "past the end page by page: "
              "detected if a signal killed it before anything below its floor was written. Then a "
              "frame that reaches from "
              "within the stack into the neighbour, over the guard, and the same compiled with "
              "-fstack-clash-protection.",
          .probes = {
              {.name = "overflow",
               .promises = {{"overflow_detected", "overflow is detected", "1/0"},
                            {"overflow_reported", "and reported as such", "1/0"},
                            {"neighbour_safe", "a neighbour is safe", "1/0"}},
               .ask = ask_overflow},
              {.name = "jumps",
               .promises = {{"jump_detected", "a frame larger than the guard", "1/0"},
                            {"probed_jump_detected", "the same, -fstack-clash-protection", "1/0"}},
               .ask = ask_jumps}}};
}

}  // namespace growstack::compare::promises
