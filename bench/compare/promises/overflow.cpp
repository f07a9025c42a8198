// Promises at the end of a stack: who notices that code left the stack, before it writes to memory
// of somebody else?
#include "parts/descent.hpp"
#include "promises/machine.hpp"
#include "promises/promise.hpp"

#include <growstack/handler/pages.hpp>

#include <fmt/format.h>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

namespace growstack::compare::promises {
namespace {

/// How far below a stack the experiments look for a neighbour.
constexpr std::size_t neighbourhood = mib;

// ---- a neighbour --------------------------------------------------------------------------------

/// Maps writable memory into the first hole below `floor`. Returns where that memory ends; 0 if
/// there is no hole in the neighbourhood.
std::uintptr_t map_neighbour(std::uintptr_t floor) {
  const std::uintptr_t highest = handler::page_down(floor);
  for (std::uintptr_t end = highest; end + neighbourhood > highest; end -= handler::page_size()) {
    void* const wanted = reinterpret_cast<void*>(end - guard_bytes);
    if (mmap(wanted, guard_bytes, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == wanted) {
      return end;
    }
  }
  return 0;
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

// ---- leaving the stack --------------------------------------------------------------------------

/// What a worker leaves behind when it dies.
struct Trace {
  std::atomic<std::uintptr_t> floor{0};
  std::atomic<std::uintptr_t> neighbour{0};  ///< one above its highest byte; 0 for none
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

/// Makes a frame that reaches down to that address, and writes there. This file is compiled with
/// -fstack-clash-protection, so the function touches the frame page by page.
[[gnu::noinline]] void jump_probing(std::uintptr_t to, Trace& trace) {
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  auto* const frame = static_cast<volatile char*>(__builtin_alloca(here - to));
  *frame = 1;
  trace.lowest_written = reinterpret_cast<std::uintptr_t>(frame);
}

/// Moves the stack pointer at once, as such a function does that is compiled without the option.
void jump_at_once(std::uintptr_t to, Trace& trace) {
  call_at(to, [&] { trace.lowest_written = to; });
}

/// Jumps to the landing from close above the floor.
template <void (*jump)(std::uintptr_t to, Trace& trace)>
void jump_down(const AnyStack& stack, Trace& trace) {
  constexpr std::size_t last_frames = 16 * kib;
  bench::descend(stack.floor() + last_frames, [&] { jump(landing(trace), trace); });
}

/// Leaves a stack of 1 MiB in a worker. Says {"below": how far below the floor the worker wrote,
/// "gap": from the floor to the neighbour, if there is one}, in bytes.
template <void (*leave)(const AnyStack& stack, Trace& trace)>
Fate leave_stack(const Question& question) {
  Trace& trace = shared<Trace>();
  Fate fate = in_worker([&] {
    const Stacks all = some_stacks(question);
    const auto found = std::find_if(all.begin(), all.end(),
                                    [&](const auto& each) { return next_base(*each, all) != 0; });
    AnyStack& stack = found == all.end() ? *all.front() : **found;
    stack.run([&] {
      const std::uintptr_t next = next_base(stack, all);
      trace.floor = stack.floor();
      trace.neighbour = next != 0 ? next : map_neighbour(stack.floor());
      leave(stack, trace);
      _exit(0);  // what the stack and its neighbour hold is overwritten
    });
    return nullptr;
  });
  fate.said["below"] = static_cast<std::int64_t>(trace.floor - trace.lowest_written);
  if (trace.neighbour != 0) {
    fate.said["gap"] = trace.floor - trace.neighbour;
  }
  return fate;
}

/// Makes the cell, or survival() for a worker that could not try it or hung. Death is no failure.
CellMaker if_left(Cell (*make)(const Fate& fate)) {
  return [make](const Fate& fate) {
    return fate.hung || !fate.failure.empty() ? survival(fate) : make(fate);
  };
}

std::int64_t below(const Fate& fate) { return fate.said.at("below"); }

std::string memory_below(const Fate& fate) {
  return fate.said.contains("gap")
             ? fmt::format("other memory lies {} KiB below",
                           fate.said["gap"].get<std::size_t>() / kib)
             : fmt::format("no other memory within {} MiB below", neighbourhood / mib);
}

Cell detected(const Fate& fate) {
  if (below(fate) > 0) {
    return no("no", fmt::format("wrote {} bytes below its floor", below(fate)));
  }
  const auto early = static_cast<std::size_t>(-below(fate));
  return yes(fate.word(), early > 2 * handler::page_size()
                              ? fmt::format("{} KiB before its floor", early / kib)
                              : "");
}

Cell reported(const Fate& fate) {
  return fate.errors.find("stack overflow") != std::string::npos ? yes() : no();
}

Cell neighbour_safe(const Fate& fate) {
  const bool has_neighbour = fate.said.contains("gap");
  if (has_neighbour && below(fate) > fate.said.at("gap").get<std::int64_t>()) {
    return no("written", memory_below(fate));
  }
  return yes("yes", has_neighbour ? "" : memory_below(fate));
}

Cell jump_detected(const Fate& fate) {
  if (below(fate) > 0) {
    return no("written", memory_below(fate));
  }
  return yes(fate.word(), !fate.said.contains("gap")  ? memory_below(fate)
                          : reported(fate).value == 1 ? ""
                                                      : "not reported");
}

}  // namespace

Family promises_at_overflow() {
  return {
      "The end of a stack",
      "Code leaves a stack of 1 MiB, with a guard of 64 KiB if the guard can be chosen. Right "
      "below lies a neighbour: another stack, or memory that the experiment maps there.",
      {{"overflow_detected", "overflow is detected",
        "A recursion passes the end page by page. A signal kills it before it writes below the "
        "floor.",
        leave_stack<run_down>, if_left(detected)},
       {"overflow_reported", "and reported as such",
        "The process says \"stack overflow\" on standard error before it dies of the recursion.",
        leave_stack<run_down>, if_left(reported)},
       {"neighbour_safe", "a neighbour is safe", "The recursion does not write to the neighbour.",
        leave_stack<run_down>, if_left(neighbour_safe)},
       {"jump_detected", "a frame larger than the guard",
        "A function moves the stack pointer over the guard in one step. Its first write kills it.",
        leave_stack<jump_down<jump_at_once>>, if_left(jump_detected)},
       {"probed_jump_detected", "the same, -fstack-clash-protection",
        "A function that is compiled with this option touches such a frame page by page.",
        leave_stack<jump_down<jump_probing>>, if_left(jump_detected)}}};
}

}  // namespace growstack::compare::promises
