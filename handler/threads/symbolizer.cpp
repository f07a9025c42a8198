#include "threads/symbolizer.hpp"

#include "anywhere/futex.hpp"
#include "fault/trace.hpp"
#include "threads/fold_frames.hpp"
#include "threads/idle_looks.hpp"

#include <sys/syscall.h>
#include <unistd.h>
#include <boost/stacktrace.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <span>
#include <sstream>
#include <string>

namespace growstack::handler {
namespace {

using namespace std::chrono_literals;

/// Prints a line, however long standard error takes for it. Not by stdio: the program may have
/// buffered it, and a buffer dies with the process. A write that fails has no cure here.
void say(const std::string& line) {
  const std::string whole = line + "\n";
  std::size_t written = 0;
  while (written < whole.size()) {
    const ssize_t more = write(STDERR_FILENO, whole.data() + written, whole.size() - written);
    if (more <= 0 && errno != EINTR) {
      return;
    }
    written += more > 0 ? static_cast<std::size_t>(more) : 0;
  }
}

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
  std::atomic<std::uint32_t>& state = fork_wiped()->symbol_state;
  const std::uint32_t last = state.load(std::memory_order_relaxed) >> 3U;
  state.store(symbol_word(last, SymbolState::parked), std::memory_order_relaxed);
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
    switch (symbol_state_of(seen)) {
      case SymbolState::ending:
        return;
      case SymbolState::requested: {
        const std::uint32_t result = symbol_word(seen >> 3U, try_to_print_trace());
        if (current.load(std::memory_order_relaxed) == self &&
            state.compare_exchange_strong(seen, result, std::memory_order_acq_rel)) {
          futex_wake(state);
        }
        break;
      }
      default:
        futex_wait(state, seen, look_at_idle());
    }
  }
}

bool Symbolizer::ask_to_end() noexcept {
  std::atomic<std::uint32_t>& state = fork_wiped()->symbol_state;
  state.store(symbol_word(state.load(std::memory_order_relaxed) >> 3U, SymbolState::ending),
              std::memory_order_release);
  futex_wake(state);
  return true;
}

}  // namespace growstack::handler
