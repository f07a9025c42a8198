#include <growstack/handler/report.hpp>

#include "fork_wiped.hpp"
#include "futex.hpp"
#include "raw_line.hpp"
#include "reporter.hpp"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

namespace growstack::handler {
namespace {

using namespace std::chrono_literals;

/// Symbols of a large program take a second or two to read; a deadlock takes for ever.
constexpr auto symbol_patience = 10s;

/// Held, for the rest of this process, by the first thread that reports; freed when it has.
std::atomic<std::uint32_t> reporting{0};

void name_the_cause(RawLine& line, int error) noexcept {
  switch (error) {
    case 0:
      line << "stack overflow";
      break;
    case ENOMEM:
      line << "a stack could not grow (ENOMEM: vm.max_map_count, RLIMIT_DATA, RLIMIT_AS or the overcommit limit is reached)";
      break;
    default:
      line << "a stack could not grow (errno " << static_cast<std::uint64_t>(error) << ")";
  }
}

void write_raw_line(const SlotRecord& slot, const Fault& fault, int error) noexcept {
  char thread_name[16] = "";
  prctl(PR_GET_NAME, thread_name);
  const std::uintptr_t base = slot.base.load(std::memory_order_relaxed);
  RawLine line;
  line << "growstack: ";
  name_the_cause(line, error);
  line << ": thread " << static_cast<std::uint64_t>(syscall(SYS_gettid)) << " \"" << thread_name << "\", stack \""
       << slot.name << "\", reserved " << base - slot.floor.load(std::memory_order_relaxed) << " bytes, committed "
       << base - slot.limit.load(std::memory_order_relaxed);
  (line << ", fault address ").address(fault.address);
  (line << ", stack pointer ").address(fault.stack_pointer);
  line.write_to_stderr();
}

/// True if the reporter thread wrote the trace.
bool named_by_reporter(std::atomic<std::uint32_t>& state) noexcept {
  auto expected = static_cast<std::uint32_t>(ReportState::parked);
  if (!state.compare_exchange_strong(expected, static_cast<std::uint32_t>(ReportState::requested),
                                     std::memory_order_acq_rel)) {
    return false;  // no such thread: in a forked child
  }
  futex_wake(state);
  const auto deadline = std::chrono::steady_clock::now() + symbol_patience;
  while (std::chrono::steady_clock::now() < deadline) {
    if (state.load(std::memory_order_acquire) == static_cast<std::uint32_t>(ReportState::done)) {
      state.store(static_cast<std::uint32_t>(ReportState::parked), std::memory_order_release);
      return true;
    }
    futex_wait(state, static_cast<std::uint32_t>(ReportState::requested), 100ms);
  }
  return false;
}

void write_raw_frames() noexcept {
  constexpr std::size_t most = 32;
  const Trace& trace = the_trace();
  RawLine line;
  line << "growstack: no symbols (a forked child, or the allocator's lock is held); the innermost "
       << std::min(most, trace.total) << " of " << trace.total << " frames:";
  line.write_to_stderr();
  for (std::size_t index = 0; index < std::min(most, trace.total); ++index) {
    (line << "  #" << index << "  ").address(reinterpret_cast<std::uintptr_t>(trace.inner[index]));
    line.write_to_stderr();
  }
}

}  // namespace

void report_overflow(const SlotRecord& slot, const Fault& fault, int error) noexcept {
  write_raw_line(slot, fault, error);
  if (reporting.exchange(1, std::memory_order_acquire) != 0) {
    // Another thread reports: let it finish, for we return to a fault that ends the process.
    const auto deadline = std::chrono::steady_clock::now() + symbol_patience;
    while (reporting.load(std::memory_order_acquire) != 0 && std::chrono::steady_clock::now() < deadline) {
      futex_wait(reporting, 1, 100ms);
    }
    return;
  }
  collect_trace(fault.program_counter);
  ForkWiped* const shared = fork_wiped();
  if (shared == nullptr || !named_by_reporter(shared->report_state)) {
    write_raw_frames();
  }
  reporting.store(0, std::memory_order_release);
  futex_wake(reporting);
}

}  // namespace growstack::handler
