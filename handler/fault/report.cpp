// The report of a stack that cannot grow, as the faulting thread makes it. fault/trace.cpp walks
// the stack, and threads/symbolizer.cpp names the frames.
#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/handler/report.hpp>

#include "anywhere/fork_wiped.hpp"
#include "anywhere/futex.hpp"
#include "anywhere/raw_line.hpp"
#include "fault/pending_signals.hpp"
#include "fault/trace.hpp"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>

namespace growstack::handler {
namespace {

using namespace std::chrono_literals;

/// How long a faulting thread waits for names. The symbols of a large program take a second or two
/// to read; a deadlock takes for ever.
constexpr auto symbol_patience = 10s;

/// Returns whether the kernel refused to grow the stack. Another stack ends at its floor only.
bool ended_by_kernel(const SlotRecord& slot, const Fault& fault) noexcept {
  return slot.growth.load(std::memory_order_relaxed) == Growth::by_kernel &&
         fault.address >= slot.floor.load(std::memory_order_relaxed);
}

/// Returns the lowest committed address. Nobody keeps the limit of a stack that the kernel grows:
/// it ended right above the address that faulted.
std::uintptr_t lowest_committed(const SlotRecord& slot, const Fault& fault) noexcept {
  const std::uintptr_t limit = slot.limit.load(std::memory_order_relaxed);
  return ended_by_kernel(slot, fault) ? std::min(limit, page_up(fault.address)) : limit;
}

/// Returns what happened to a stack that ended without an error of ours: it reached its floor, or
/// the kernel gave up.
const char* end_of(const SlotRecord& slot, const Fault& fault) noexcept {
  return ended_by_kernel(slot, fault)
             ? "stack overflow: the kernel grew it no further (RLIMIT_STACK or RLIMIT_AS is "
               "reached: raise it; or another mapping is in the way: take another strategy)"
             : "stack overflow";
}

/// Adds: madvise: EPERM
void name_the_refusal(RawLine& line, int error) noexcept {
  if (const char* const call = call_that_failed(error); call != nullptr) {
    line << call << ": ";
  }
  if (const char* const name = errno_name(error); name != nullptr) {
    line << name;
  } else {
    line << "errno " << static_cast<std::uint64_t>(error);
  }
}

void name_the_budget(RawLine& line) noexcept {
  line << "the budget of its pool or of the process is used up";
  if (const BudgetRefusal refusal = budget_refusal(); refusal.asked != 0) {
    line << ": " << refusal.asked << " bytes asked for at once, " << refusal.left
         << " bytes left. Raise it, release stacks, or trim them";
  }
}

/// Returns what an errno of a commit means, and what to do about it.
const char* meaning_of(int error) noexcept {
  switch (error) {
    case EACCES:
      return "the program forbade or mapped memory inside the stack, or a security module refuses "
             "the call: allow it, or take another strategy";
    case EAGAIN:
      return "RLIMIT_MEMLOCK is reached: raise it, or do without mlockall";
    case EBADF:
      return "the program closed the descriptor of growstack's userfaultfd, and no other can be "
             "opened (RLIMIT_NOFILE, or a filter): let it close only its own";
    case EINVAL:
      return "this kernel does not know what it is asked for: take another strategy";
    case ENOENT:
      return "the program mapped other memory inside the stack: let it map elsewhere";
    case ENOMEM:
      return "vm.max_map_count, RLIMIT_DATA, RLIMIT_AS, the overcommit limit or the memory of the "
             "control group is reached: raise it, or commit less";
    case ENOSYS:
    case EPERM:
      return "a seccomp filter or a security module refuses the call: allow it, or take another "
             "strategy";
    default:
      return "the kernel failed: try again, or take another strategy";
  }
}

void name_the_cause(RawLine& line, const SlotRecord& slot, const Fault& fault, int error) noexcept {
  if (error == 0) {
    line << end_of(slot, fault);
    return;
  }
  line << "a stack could not grow (";
  if (error == EDQUOT) {
    name_the_budget(line);
  } else if (error == EDOM) {
    line << "its owner declined";
  } else {
    name_the_refusal(line, error);
    line << ": " << meaning_of(error);
  }
  line << ")";
}

/// Adds: thread 17 "worker", stack "parser"
RawLine& name_the_place(RawLine& line, const SlotRecord& slot) noexcept {
  char thread_name[16] = "";
  prctl(PR_GET_NAME, thread_name);
  return line << "thread " << static_cast<std::uint64_t>(syscall(SYS_gettid)) << " \""
              << thread_name << "\", stack \"" << slot.name << "\"";
}

bool write_raw_line(const SlotRecord& slot, const Fault& fault, int error) noexcept {
  const std::uintptr_t base = slot.base.load(std::memory_order_relaxed);
  RawLine line;
  line << "growstack: ";
  name_the_cause(line, slot, fault, error);
  line << ": ";
  name_the_place(line, slot) << ", reserved " << base - slot.floor.load(std::memory_order_relaxed)
                             << " bytes, committed " << base - lowest_committed(slot, fault);
  (line << ", fault address ").address(fault.address);
  (line << ", stack pointer ").address(fault.stack_pointer);
  return line.write_to_stderr();
}

/// Has the symbolizer print the trace. Returns false if it did not.
bool print_with_symbols() noexcept {
  ForkWiped* const shared = fork_wiped();
  if (shared == nullptr || shared->symbolizer_joinable.load(std::memory_order_acquire) == 0) {
    return false;  // there is no such thread: in a forked child
  }
  std::atomic<std::uint32_t>& state = shared->symbol_state;
  std::uint32_t seen = state.load(std::memory_order_acquire);
  std::uint32_t requested = 0;
  do {
    if (symbol_state_of(seen) == SymbolState::ending) {
      return false;
    }
    requested = next_symbol_word(seen);
  } while (!state.compare_exchange_weak(seen, requested, std::memory_order_acq_rel));
  futex_wake(state);
  const auto deadline = std::chrono::steady_clock::now() + symbol_patience;
  while (std::chrono::steady_clock::now() < deadline) {
    seen = state.load(std::memory_order_acquire);
    if (seen != requested) {
      return symbol_state_of(seen) == SymbolState::done;
    }
    futex_wait(state, requested, 100ms);
  }
  return false;
}

void write_raw_frames() noexcept {
  constexpr std::size_t most = 32;
  const Trace& trace = the_trace();
  RawLine line;
  line << "growstack: no symbols (no thread for them, no memory, or the allocator's lock is held); "
          "the innermost "
       << std::min(most, trace.total) << " of " << trace.total << " frames:";
  bool written = line.write_to_stderr();
  for (std::size_t index = 0; written && index < std::min(most, trace.total); ++index) {
    (line << "  #" << index << "  ").address(reinterpret_cast<std::uintptr_t>(trace.inner[index]));
    written = line.write_to_stderr();
  }
}

void end_report(std::atomic<std::uint32_t>& reporter) noexcept {
  reporter.store(0, std::memory_order_release);
  futex_wake(reporter);
}

/// Returns false if the thread is dead. It may have been a vfork child, for which we have not
/// waited yet.
bool is_alive(std::uint32_t thread) noexcept {
  siginfo_t ended{};
  const bool is_our_zombie =
      syscall(SYS_waitid, P_PID, thread, &ended, WEXITED | WNOHANG | WNOWAIT, nullptr) == 0 &&
      ended.si_pid != 0;
  return !is_our_zombie && (syscall(SYS_tkill, thread, 0) == 0 || errno != ESRCH);
}

/// Becomes the thread that reports. If another one is, waits until it has finished and returns
/// false, because we return to a fault that ends the process.
bool take_reporter(std::atomic<std::uint32_t>& reporter) noexcept {
  const auto self = static_cast<std::uint32_t>(syscall(SYS_gettid));
  const auto deadline = std::chrono::steady_clock::now() + symbol_patience;
  bool has_waited = false;
  for (std::uint32_t other = 0;
       !reporter.compare_exchange_strong(other, self, std::memory_order_acquire); other = 0) {
    if (std::chrono::steady_clock::now() >= deadline) {
      return false;
    }
    if (!is_alive(other)) {
      reporter.compare_exchange_strong(other, 0, std::memory_order_relaxed);
      has_waited = false;  // it did not finish
      continue;
    }
    has_waited = true;
    futex_wait(reporter, other, 100ms);
  }
  if (has_waited) {
    end_report(reporter);
  }
  return !has_waited;
}

void write_trace(const Fault& fault) noexcept {
  ForkWiped* const shared = fork_wiped();
  if (shared == nullptr || !take_reporter(shared->reporter)) {
    return;
  }
  collect_trace(fault.program_counter);
  if (!print_with_symbols()) {
    write_raw_frames();
  }
  end_report(shared->reporter);
}

}  // namespace

Disposition report_overflow(const SlotRecord& slot, const Fault& fault, void* /*context*/,
                            int error) noexcept {
  const KeepPendingSignals keep_pending_signals;
  if (write_raw_line(slot, fault, error)) {  // otherwise nobody listens
    write_trace(fault);
  }
  return Disposition::forward;
}

void report_lost_signal(const SlotRecord& slot, const Fault& fault) noexcept {
  static constinit std::atomic<bool> said{false};
  if (said.exchange(true, std::memory_order_relaxed)) {
    return;
  }
  const KeepPendingSignals keep_pending_signals;
  RawLine line;
  line << "growstack: a signal was lost: its handler is without SA_ONSTACK, and there was no room "
          "for its frame: ";
  const std::uintptr_t limit = slot.limit.load(std::memory_order_relaxed);
  name_the_place(line, slot) << ", ";
  line << fault.stack_pointer - std::min(limit, fault.stack_pointer)
       << " bytes committed below the stack pointer. "
       << "Give the handler SA_ONSTACK (growstack::handler::add_onstack), unless it notes its own "
          "stack pointer; or give the stack more headroom. Said once.";
  static_cast<void>(line.write_to_stderr());
}

}  // namespace growstack::handler
