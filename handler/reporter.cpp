// The reporter thread: parked until a stack overflows, then turns the collected frames into names, files and lines with
// Boost.Stacktrace. It allocates and takes locks, which is why it is not the faulting thread that does this.
#include "reporter.hpp"

#include "fold_frames.hpp"
#include "fork_wiped.hpp"
#include "futex.hpp"
#include "threads.hpp"

#include <boost/stacktrace.hpp>

#include <algorithm>
#include <cstdio>
#include <string>

namespace growstack::handler {
namespace {

using namespace std::chrono_literals;

pthread_t reporter_thread;
Trace trace;

/// "function at file:line", or the address where no debug information tells.
std::string describe(std::size_t index) {
  // A return address may belong to the line after the call, or even to the next function.
  const auto* const address = static_cast<const char*>(trace.frames[index]) - (index == 0 ? 0 : 1);
  const boost::stacktrace::frame frame(static_cast<const void*>(address));
  std::string name = frame.name();
  if (name.empty()) {
    char raw[32];
    std::snprintf(raw, sizeof raw, "%p", trace.frames[index]);
    name = raw;
  }
  return frame.source_line() == 0 ? name : name + " at " + frame.source_file() + ":" + std::to_string(frame.source_line());
}

std::string with_thousands(std::size_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t place = digits.size(); place > 3; place -= 3) {
    digits.insert(place - 3, ",");
  }
  return digits;
}

void print(const FrameRun& run) {
  for (std::size_t offset = 0; offset < run.length; ++offset) {
    const std::size_t index = run.first + offset;
    const std::string times = run.length == 1 && run.count > 1 ? "  (" + with_thousands(run.count) + " times)" : "";
    std::fprintf(stderr, "  #%-6zu %s%s\n", index, describe(index).c_str(), times.c_str());
  }
  if (run.length > 1 && run.count > 1) {
    std::fprintf(stderr, "          (these %zu frames %s times)\n", run.length, with_thousands(run.count).c_str());
  }
}

void print_trace() {
  std::fprintf(stderr, "growstack: trace of the stack, innermost frame first:\n");
  for (const FrameRun& run : fold_frames({trace.frames, trace.count})) {
    print(run);
  }
  if (!trace.complete) {
    std::fprintf(stderr, "  ...     (and more: only the innermost %s frames were collected)\n",
                 with_thousands(trace.count).c_str());
  }
  std::fflush(stderr);
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
      try {
        print_trace();
      } catch (const std::exception&) {
        continue;  // out of memory: the faulting thread's patience ends, and it writes raw addresses
      }
      state.store(static_cast<std::uint32_t>(ReportState::done), std::memory_order_release);
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

void warm_up_unwinder() noexcept {
  const void* frames[8];
  boost::stacktrace::safe_dump_to(0, static_cast<void*>(frames), sizeof frames);
}

void collect_trace(std::uintptr_t program_counter) noexcept {
  // The trace starts in our handler; the caller wants the code that it interrupted.
  const std::size_t count = boost::stacktrace::safe_dump_to(0, static_cast<void*>(trace.frames), sizeof trace.frames);
  trace.complete = count < Trace::capacity;
  const void** const end = trace.frames + count;
  const void** const interrupted = std::find(trace.frames, end, reinterpret_cast<const void*>(program_counter));
  const void** const first = interrupted == end ? trace.frames : interrupted;
  trace.count = static_cast<std::size_t>(std::copy(first, end, trace.frames) - trace.frames);
  while (trace.count > 0 && trace.frames[trace.count - 1] == nullptr) {
    --trace.count;
  }
}

int start_reporter_thread() noexcept {
  ForkWiped& shared = *fork_wiped();
  if (shared.reporter_joinable.load(std::memory_order_relaxed) != 0) {
    return 0;
  }
  constexpr std::size_t stack_bytes = std::size_t{1024} * 1024;
  shared.report_state.store(static_cast<std::uint32_t>(ReportState::parked), std::memory_order_relaxed);
  const int error = start_service_thread(reporter_thread, reporter_body, nullptr, stack_bytes);
  if (error == 0) {
    shared.reporter_joinable.store(1, std::memory_order_relaxed);
  } else {
    shared.report_state.store(static_cast<std::uint32_t>(ReportState::absent), std::memory_order_relaxed);
  }
  return error;
}

void end_reporter_thread() noexcept {
  ForkWiped* const shared = fork_wiped();
  if (shared == nullptr || shared->reporter_joinable.exchange(0, std::memory_order_relaxed) == 0) {
    return;
  }
  shared->report_state.store(static_cast<std::uint32_t>(ReportState::ending), std::memory_order_release);
  futex_wake(shared->report_state);
  pthread_join(reporter_thread, nullptr);
}

}  // namespace growstack::handler
