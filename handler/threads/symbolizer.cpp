// The reporter thread: parked until a stack overflows, then turns the collected frames into names,
// files and lines with Boost.Stacktrace. It allocates and takes locks, which is why it is not the
// faulting thread that does this.
#include "fault/trace.hpp"

#include "threads/fold_frames.hpp"
#include "anywhere/fork_wiped.hpp"
#include "anywhere/futex.hpp"
#include "threads/service_thread.hpp"

#include <boost/stacktrace.hpp>

#include <unwind.h>

#include <algorithm>
#include <cstdio>
#include <span>
#include <sstream>
#include <string>

namespace growstack::handler {
namespace {

using namespace std::chrono_literals;

pthread_t reporter_thread;
Trace trace;

/// A write that fails has no cure here.
void say(const std::string& line) { static_cast<void>(std::fputs((line + "\n").c_str(), stderr)); }

std::string with_thousands(std::size_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t place = digits.size(); place > 3; place -= 3) {
    digits.insert(place - 3, ",");
  }
  return digits;
}

/// "function at file:line", or the address where no debug information tells.
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

/// "  #12      "
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
  if (!trace.whole) {
    say("  ...      (and more: the walk was ended after " + with_thousands(trace.total) +
        " frames)");
  }
}

void* reporter_body(void*) noexcept {
  settle_service_thread("stack-reporter");
  std::atomic<std::uint32_t>& state = fork_wiped()->report_state;
  for (;;) {
    const auto seen = static_cast<ReportState>(state.load(std::memory_order_acquire));
    if (seen == ReportState::ending) {
      break;
    }
    if (seen == ReportState::requested) {
      ReportState result = ReportState::done;
      try {
        print_trace();
      } catch (...) {
        result = ReportState::failed;  // out of memory: the faulting thread writes raw addresses
      }
      state.store(static_cast<std::uint32_t>(result), std::memory_order_release);
      futex_wake(state);
      continue;
    }
    futex_wait(state, static_cast<std::uint32_t>(seen), 24h);
  }
  state.store(static_cast<std::uint32_t>(ReportState::absent), std::memory_order_release);
  return nullptr;
}

}  // namespace

Trace& the_trace() noexcept { return trace; }

namespace {

/// Walking takes about 0.2 us a frame: seconds at most.
constexpr std::size_t most_frames = std::size_t{16} * 1024 * 1024;

struct Walk {
  std::uintptr_t program_counter;
  bool interrupted_seen =
      false;  ///< the walk starts in our handler; the trace with the code that it interrupted
};

_Unwind_Reason_Code keep_frame(_Unwind_Context* context, void* argument) {
  auto& walk = *static_cast<Walk*>(argument);
  const std::uintptr_t address = _Unwind_GetIP(context);
  walk.interrupted_seen = walk.interrupted_seen || address == walk.program_counter;
  if (!walk.interrupted_seen || address == 0) {
    return _URC_NO_REASON;
  }
  if (trace.total == most_frames) {
    trace.whole = false;
    return _URC_END_OF_STACK;
  }
  const auto* const frame = reinterpret_cast<const void*>(address);
  if (trace.total < Trace::capacity) {
    trace.inner[trace.total] = frame;
  } else {
    trace.outer[trace.total % Trace::capacity] = frame;
  }
  ++trace.total;
  return _URC_NO_REASON;
}

}  // namespace

// Not Boost.Stacktrace's safe_dump_to(): that keeps the inner end only, and of a runaway recursion
// one wants to know who began it.
void collect_trace(std::uintptr_t program_counter) noexcept {
  trace.total = 0;
  trace.whole = true;
  Walk walk{.program_counter = program_counter};
  _Unwind_Backtrace(keep_frame, &walk);
}

void warm_up_unwinder() noexcept {
  collect_trace(reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)));
}

int start_reporter_thread() noexcept {
  ForkWiped& shared = *fork_wiped();
  if (shared.reporter_joinable.load(std::memory_order_relaxed) != 0) {
    return 0;
  }
  shared.report_state.store(static_cast<std::uint32_t>(ReportState::parked),
                            std::memory_order_relaxed);
  const int error = start_service_thread(reporter_thread, reporter_body, nullptr);
  if (error == 0) {
    shared.reporter_joinable.store(1, std::memory_order_relaxed);
  } else {
    shared.report_state.store(static_cast<std::uint32_t>(ReportState::absent),
                              std::memory_order_relaxed);
  }
  return error;
}

void end_reporter_thread() noexcept {
  ForkWiped* const shared = fork_wiped();
  if (shared == nullptr || shared->reporter_joinable.exchange(0, std::memory_order_relaxed) == 0) {
    return;
  }
  shared->report_state.store(static_cast<std::uint32_t>(ReportState::ending),
                             std::memory_order_release);
  futex_wake(shared->report_state);
  pthread_join(reporter_thread, nullptr);
}

}  // namespace growstack::handler
