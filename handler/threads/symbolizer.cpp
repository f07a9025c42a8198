#include "threads/symbolizer.hpp"

#include "anywhere/futex.hpp"
#include "fault/trace.hpp"
#include "threads/fold_frames.hpp"

#include <sys/syscall.h>
#include <unistd.h>
#include <boost/stacktrace.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <span>
#include <sstream>
#include <string>

namespace growstack::handler {
namespace {

using namespace std::chrono_literals;

/// Prints a line. A write that fails has no cure here.
void say(const std::string& line) { static_cast<void>(std::fputs((line + "\n").c_str(), stderr)); }

/// Returns "12,345".
std::string with_thousands(std::size_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t place = digits.size(); place > 3; place -= 3) {
    digits.insert(place - 3, ",");
  }
  return digits;
}

/// Returns "function at file:line", or the address if no debug information tells.
std::string describe(const void* address, bool is_return_address) {
  // A return address may belong to the line after the call, or even to the next function.
  const boost::stacktrace::frame frame(static_cast<const char*>(address) -
                                       (is_return_address ? 1 : 0));
  std::ostringstream text;
  if (frame.name().empty()) {
    text << address;
  } else {
    text << frame.name();
  }
  if (frame.source_line() != 0) {
    text << " at " << frame.source_file() << ":" << frame.source_line();
  }
  return text.str();
}

/// Returns "  #12      ".
std::string numbered(std::size_t number) {
  std::string text = "  #" + std::to_string(number);
  text.resize(std::max<std::size_t>(text.size() + 1, 11), ' ');
  return text;
}

/// `first_number` is the number of frames[0] in the whole trace.
void print(std::span<const void* const> frames, std::size_t first_number) {
  for (const FrameRun& run : fold_frames(frames)) {
    const std::string times = "  (" + with_thousands(run.count) + " times)";
    for (std::size_t index = run.first; index < run.first + run.length; ++index) {
      const std::size_t number = first_number + index;
      say(numbered(number) + describe(frames[index], number != 0) +
          (run.length == 1 && run.count > 1 ? times : ""));
    }
    if (run.length > 1 && run.count > 1) {
      say("           (these " + std::to_string(run.length) + " frames " +
          with_thousands(run.count) + " times)");
    }
  }
}

void print_trace() {
  Trace& trace = the_trace();
  say("growstack: trace of the stack, innermost frame first:");
  print({trace.inner, trace.inner_count()}, 0);
  const std::size_t outer_count = trace.outer_count();
  if (outer_count != 0) {
    const std::size_t first_outer = trace.total - outer_count;
    if (first_outer > Trace::capacity) {
      say("  ...      (" + with_thousands(first_outer - Trace::capacity) +
          " frames in between are not shown)");
    }
    std::rotate(trace.outer, trace.outer + first_outer % Trace::capacity,
                trace.outer + outer_count);
    print({trace.outer, outer_count}, first_outer);
  }
  if (trace.is_cut) {
    say("  ...      (and more: the walk was ended after " + with_thousands(trace.total) +
        " frames)");
  }
}

/// Returns `failed` if there is no memory: the faulting thread then writes raw addresses.
SymbolState try_to_print_trace() noexcept {
  try {
    print_trace();
    return SymbolState::done;
  } catch (...) {
    return SymbolState::failed;
  }
}

}  // namespace

constinit Symbolizer the_symbolizer;

int Symbolizer::prepare(int /*descriptor*/) noexcept {
  fork_wiped()->symbol_state.store(static_cast<std::uint32_t>(SymbolState::parked),
                                   std::memory_order_relaxed);
  return 0;
}

void Symbolizer::run(int /*descriptor*/) noexcept {
  std::atomic<std::uint32_t>& state = fork_wiped()->symbol_state;
  std::atomic<std::uint32_t>& current = fork_wiped()->symbolizer_id;
  const auto self = static_cast<std::uint32_t>(syscall(SYS_gettid));
  current.store(self, std::memory_order_relaxed);
  // Another one takes over if this one could not be ended, because nobody emptied the pipe that it
  // wrote to.
  while (current.load(std::memory_order_relaxed) == self) {
    std::uint32_t seen = state.load(std::memory_order_acquire);
    switch (static_cast<SymbolState>(seen)) {
      case SymbolState::ending:
        return;
      case SymbolState::requested: {
        const auto result = static_cast<std::uint32_t>(try_to_print_trace());
        if (current.load(std::memory_order_relaxed) == self &&
            state.compare_exchange_strong(seen, result, std::memory_order_acq_rel)) {
          futex_wake(state);
        }
        break;
      }
      default:
        futex_wait(state, seen, 24h);
    }
  }
}

bool Symbolizer::ask_to_end() noexcept {
  std::atomic<std::uint32_t>& state = fork_wiped()->symbol_state;
  state.store(static_cast<std::uint32_t>(SymbolState::ending), std::memory_order_release);
  futex_wake(state);
  return true;
}

}  // namespace growstack::handler
