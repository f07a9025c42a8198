// Promises at the end of a stack: who notices that code left the stack, before it writes to memory
// of somebody else?
#include "jump.hpp"
#include "parts/descent.hpp"
#include "promise.hpp"
#include "stacks.hpp"

#include <growstack/handler/pages.hpp>

#include <fmt/format.h>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <fstream>

namespace growstack::compare::promises {
namespace {

/// How far below a stack the experiments look for a neighbour.
constexpr std::size_t neighbourhood = mib;

// ---- a neighbour --------------------------------------------------------------------------------

struct Mapping {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  char write = '-';
};

/// Returns the mappings of this process, lowest address first.
std::vector<Mapping> mappings() {
  std::vector<Mapping> all;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    Mapping each;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %*c%c", &each.begin, &each.end,
                    &each.write) == 3) {
      all.push_back(each);
    }
  }
  return all;
}

/// Steps down from `address` over memory that is not writable, as a guard, to writable memory, or
/// to a hole, in which it maps some. Returns where that memory ends; 0 if there is neither in the
/// neighbourhood.
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
    if (each->write == 'w' && top < handler::page_up(address)) {
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

/// Makes some stacks. One of them lies right below another if that is how their maker places them.
Stacks some_stacks(const Question& question) {
  constexpr std::size_t count = 4;
  Stacks all;
  for (std::size_t index = 0; index < count; ++index) {
    all.push_back(make(question.subject, mib));
    all.back()->run([] {});
  }
  return all;
}

/// Returns the base of the nearest stack below another one; 0 for none in the neighbourhood.
std::uintptr_t next_base(const AnyStack& stack, const Stacks& all) {
  std::uintptr_t nearest = 0;
  for (const auto& other : all) {
    if (other.get() != &stack && other->base() <= stack.floor()) {
      nearest = std::max(nearest, other->base());
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

/// What a worker leaves behind when it dies.
struct Trace {
  std::atomic<std::uintptr_t> floor{0};
  std::atomic<std::uintptr_t> neighbour{0};  ///< where it ends, above its highest byte; 0 for none
  std::atomic<std::uintptr_t> lowest_written{INTPTR_MAX};
};

/// Returns an address within the neighbour, or without one below where a guard of the size that was
/// asked for ends.
std::uintptr_t landing(const Trace& trace) {
  constexpr std::size_t well_inside = 2 * kib;
  return (trace.neighbour != 0 ? trace.neighbour.load() : trace.floor - guard_bytes) - well_inside;
}

/// Goes down page by page, as a recursion does, until it dies or has passed the landing.
[[gnu::noinline]] void run_down(const AnyStack&, Trace& trace) {
  constexpr std::size_t alignment = 16;
  while (trace.lowest_written > landing(trace)) {
    auto* const frame =
        static_cast<volatile char*>(__builtin_alloca(handler::page_size() - alignment));
    *frame = 1;
    trace.lowest_written = reinterpret_cast<std::uintptr_t>(frame);
  }
}

/// Makes a frame, close above the floor, that reaches to the landing.
template <std::uintptr_t (*jump)(std::size_t bytes)>
void jump_down(const AnyStack& stack, Trace& trace) {
  constexpr std::size_t last_frames = 16 * kib;
  bench::descend(stack.floor() + last_frames, [&] {
    const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    trace.lowest_written = jump(here - landing(trace));
  });
}

/// Leaves a stack of 1 MiB in a worker. Says {"below": how far below the floor the worker wrote,
/// "gap": from the floor to the neighbour, null without one}, in bytes.
template <void (*leave)(const AnyStack& stack, Trace& trace)>
Fate leave_stack(const Question& question) {
  const Shared<Trace> trace;
  Fate fate = in_worker([&] {
    const Stacks all = some_stacks(question);
    AnyStack& stack = one_with_a_neighbour(all);
    stack.run([&] {
      const std::uintptr_t next = next_base(stack, all);
      trace->floor = stack.floor();
      trace->neighbour = next != 0 ? next : map_neighbour(stack.floor());
      leave(stack, *trace);
      _exit(0);  // what the stack and its neighbour hold is overwritten
    });
    return nullptr;
  });
  fate.said["below"] = static_cast<std::int64_t>(trace->floor - trace->lowest_written);
  if (trace->neighbour != 0) {
    fate.said["gap"] = trace->floor - trace->neighbour;
  }
  return fate;
}

// ---- cells --------------------------------------------------------------------------------------

/// Makes the cell unless the worker could not try it, or hung.
CellMaker if_left(Cell (*make)(const Fate& fate)) {
  return [make](const Fate& fate) {
    return fate.hung || !fate.failure.empty() ? survival(fate) : make(fate);
  };
}

bool wrote_below(const Fate& fate, std::int64_t bytes) {
  return fate.said.at("below").get<std::int64_t>() > bytes;
}

std::string memory_below(const Fate& fate) {
  return fate.said.contains("gap")
             ? fmt::format("other memory lies {} KiB below",
                           fate.said["gap"].get<std::size_t>() / kib)
             : fmt::format("no other memory within {} MiB below", neighbourhood / mib);
}

bool is_reported(const Fate& fate) {
  return fate.errors.find("stack overflow") != std::string::npos;
}

Cell detected(const Fate& fate) {
  const auto below = fate.said.at("below").get<std::int64_t>();
  if (below > 0) {
    return no("no", fmt::format("wrote {} bytes below its floor", below));
  }
  const auto early = static_cast<std::size_t>(-below);
  return yes(fate.word(), early > 2 * handler::page_size()
                              ? fmt::format("{} KiB before its floor", early / kib)
                              : "");
}

Cell reported(const Fate& fate) { return is_reported(fate) ? yes() : no(); }

Cell neighbour_safe(const Fate& fate) {
  const bool has_neighbour = fate.said.contains("gap");
  if (has_neighbour && wrote_below(fate, fate.said.at("gap"))) {
    return no("written", memory_below(fate));
  }
  return yes("yes", has_neighbour ? "" : memory_below(fate));
}

Cell jump_detected(const Fate& fate) {
  if (wrote_below(fate, 0)) {
    return no("written", memory_below(fate));
  }
  return yes(fate.word(), !fate.said.contains("gap") ? memory_below(fate)
                          : is_reported(fate)        ? ""
                                                     : "not reported");
}

}  // namespace

Family promises_at_overflow() {
  return {
      .title = "The end of a stack",
      .setting =
          "Code leaves a stack of 1 MiB, which has a guard of 64 KiB if its guard can be chosen. "
          "The experiment makes four stacks and takes one that has another one right below it. If "
          "there is none, it maps memory right below, so that the stack has a neighbour. A "
          "signal's name says that the process died of it.",
      .promises =
          {{.name = "overflow_detected",
            .title = "overflow is detected",
            .sentence = "A recursion goes past the end page by page. A signal must kill it before "
                        "it writes to anything below the floor.",
            .experiment = leave_stack<run_down>,
            .cell = if_left(detected)},
           {.name = "overflow_reported",
            .title = "and reported as such",
            .sentence = "Whether the process said \"stack overflow\" on its standard error before "
                        "it died of the recursion.",
            .experiment = leave_stack<run_down>,
            .cell = if_left(reported)},
           {.name = "neighbour_safe",
            .title = "a neighbour is safe",
            .sentence = "Whether the recursion left the memory of the neighbour alone.",
            .experiment = leave_stack<run_down>,
            .cell = if_left(neighbour_safe)},
           {.name = "jump_detected",
            .title = "a frame larger than the guard",
            .sentence = "A function near the end has a frame that reaches over the guard into the "
                        "neighbour, and writes to the far end of it.",
            .experiment = leave_stack<jump_down<jump_unprobed>>,
            .cell = if_left(jump_detected)},
           {.name = "probed_jump_detected",
            .title = "the same, -fstack-clash-protection",
            .sentence = "The same function, compiled with that option: it touches its frame page "
                        "by page.",
            .experiment = leave_stack<jump_down<jump_probed>>,
            .cell = if_left(jump_detected)}},
  };
}

}  // namespace growstack::compare::promises
