// The way of a fault, top to bottom. notes/life-of-a-fault.md walks the same steps.
//
// What a fault calls runs in a signal handler, on the alternate stack, with every signal blocked.
// It takes no lock, allocates nothing and calls nothing but what this box lists. commit_ahead() may
// run in any thread and in any signal handler, so it keeps the same rules:
//
//     call                               who                      why it is safe
//     ---------------------------------  -----------------------  --------------------------------
//     getauxval, getpagesize             look-up, classification  read what the kernel told libc
//     fstat                              request, filling         signal-safety(7) lists it
//     statx                              request, filling         a bare system call
//     sigpending                         request                  listed
//     write, tgkill, sched_setaffinity,  request                  bare system calls, by syscall(3),
//       futex, rt_sigtimedwait                                    which touches only errno
//     sched_getcpu                       request                  reads a word of the kernel's
//     getpid                             pins, forwarding         listed
//     mprotect, madvise, ioctl,          Operations::commit       bare system calls, not listed:
//       userfaultfd, openat, close                                they touch no memory of libc's
//     futex                              a refused commit         a bare system call
//     rt_sigprocmask, futex              is_readable, is_writable bare system calls
//     pthread_sigmask                    forwarding               listed
//     rt_sigaction, rt_tgsigqueueinfo,   forwarding               bare system calls
//       gettid
//     sigaltstack                        foreign faults           not listed: a system call, which
//                                                                 only asks here
//     the component keep_handler         forwarding               keeps the same rules: it takes no
//                                                                 lock and allocates nothing
//     sigpending, clock_gettime          report                   listed
//     ppoll, write, prctl, gettid,       report                   bare system calls
//       tkill, waitid, futex, ioctl,
//       openat, close, nanosleep,
//       rt_sigtimedwait
//     the unwinder                       report                   only when nothing can be lost any
//                                                                 more; warmed up beforehand; since
//                                                                 glibc 2.35 it finds objects
//                                                                 without a lock (_dl_find_object)
//     sigemptyset and the like, memset,  all                      arithmetic on what they are
//       strlen                                                    given
//
// libc's own write, ppoll and sigtimedwait are cancellation points. Operations::plan and ::commit
// are the range's; lib/ keeps the same rules. What would be unsafe is done beforehand, in an
// ordinary thread: in this folder by warm_up_unwinder() and prepare_filling(), which may allocate
// and map memory. errno is kept. Two other thread-local variables are touched, one here and one in
// forward.cpp, and those of the component keep_handler.
#include "fault/on_fault.hpp"

#include <growstack/handler/classify.hpp>
#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/is_readable.hpp>
#include <growstack/handler/machine.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/handler/ranges.hpp>
#include <growstack/handler/report.hpp>

#include "anywhere/fork_wiped.hpp"
#include "anywhere/is_writable.hpp"
#include "anywhere/keep_errno.hpp"
#include "fault/alternate_stack.hpp"
#include "fault/counters.hpp"
#include "fault/fill_missing_pages.hpp"
#include "fault/forward.hpp"
#include "fault/grow.hpp"
#include "fault/running_stack.hpp"
#include "machine/machine.hpp"

#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace growstack::handler {
namespace {

Fault read_fault(int signal, const siginfo_t& info, const ucontext_t& context) noexcept {
  return {.signal = signal,
          .address = reinterpret_cast<std::uintptr_t>(info.si_addr),
          .stack_pointer = ThisMachine::stack_pointer(context),
          .program_counter = ThisMachine::program_counter(context),
          .code = info.si_code,
          .access = ThisMachine::access(context),
          .may_be_bad_address = ThisMachine::may_be_bad_address(context),
          .page_present = ThisMachine::page_present(context)};
}

/// Returns whether code of this process sent the signal (kill, raise, tgkill, sigqueue).
bool was_sent_by_ourselves(const siginfo_t& info) noexcept {
  return (info.si_code == SI_TKILL || info.si_code == SI_USER || info.si_code == SI_QUEUE) &&
         info.si_pid == getpid();
}

/// Where the last fault was that came to this handler in this thread. Initial-exec: see
/// forward.cpp.
[[gnu::tls_model("initial-exec")]] constinit thread_local std::uintptr_t last_fault = 0;

/// Returns the fault that made the program send us this signal: a handler that was called for it in
/// our place, and that put ours back and raised the signal anew, as crash reporters do. The signal
/// alone does not tell, but the kernel keeps the last fault of a thread in the registers that it
/// shows to handlers. If that fault came to us, nobody else was called for it, and the signal was
/// just sent: its address is 0 then.
Fault fault_behind(Fault sent, const ucontext_t& context) noexcept {
  const std::uintptr_t last = ThisMachine::last_fault_address(context);
  const bool is_behind = ThisMachine::last_trap_was_page_fault(context) && last != last_fault;
  sent.address = is_behind ? last : 0;
  sent.code = sent.signal == SIGBUS ? int{BUS_ADRERR} : int{SEGV_MAPERR};
  return sent;
}

/// What is left to do with a fault when its slot is not pinned any more.
struct Resolution {
  enum Kind : std::uint8_t { resume, forward, give_up, die } kind = resume;
  // To give up:
  const Operations* operations = nullptr;
  const SlotRecord* slot = nullptr;
  int error = 0;
};

Resolution foreign() noexcept {
  tally.foreign.add_one();
  return {.kind = Resolution::forward};
}

Resolution give_up(const PinnedSlot& pinned, int error) noexcept {
  return {.kind = Resolution::give_up,
          .operations = pinned.range().operations,
          .slot = &pinned.slot(),
          .error = error};
}

/// A vfork child commits by itself: it may be killed while it waits for the helper, and nobody
/// would take back what it holds.
Resolution grow_to(const PinnedSlot& pinned, std::uintptr_t address, bool vfork_child) noexcept {
  const int error = (vfork_child ? grow_here : grow)(pinned.range(), pinned.slot(), address);
  if (error == EACCES && call_that_failed(error) == nullptr && !is_readable(address)) {
    return foreign();  // the program forbade this page; the kernel refused nothing
  }
  return error == 0 ? Resolution{} : give_up(pinned, error);
}

/// Fills a page that somebody gave back to the kernel. If another thread has filled it by now,
/// nothing happens, and the instruction is tried again.
Resolution fill_again(const PinnedSlot& pinned, std::uintptr_t address) noexcept {
  const std::uintptr_t page = page_down(address);
  const int error =
      pinned.range().operations->commit(pinned.range(), pinned.slot(), {page, page + page_size()});
  if (error == ENOENT) {
    return foreign();  // a mapping that the program made there
  }
  tally.spurious.add_one();
  return error == 0 ? Resolution{} : give_up(pinned, error);
}

/// Fills the pages that a signal's frame would have needed. If all of them are there, something
/// else was wrong.
Resolution fill_for_signal_frame(const PinnedSlot& pinned, const Fault& fault) noexcept {
  bool is_missing = false;
  for (std::uintptr_t page = page_down(fault.stack_pointer - signal_frame_bytes());
       page < fault.stack_pointer; page += page_size()) {
    if (is_writable(page)) {
      continue;
    }
    is_missing = true;
    if (const Resolution filled = fill_again(pinned, page); filled.kind != Resolution::resume) {
      return filled;
    }
  }
  if (!is_missing) {
    return foreign();
  }
  tally.lost_signal_frame.add_one();
  report_lost_signal(pinned.slot(), fault);
  return {};
}

/// Resumes, unless the memory is committed by us and forbidden by the program: its own guard page.
/// Memory that a trim has taken away meanwhile lies below the limit by now.
Resolution try_again(const SlotRecord& slot, std::uintptr_t address) noexcept {
  if (!is_writable(address) && slot.limit.load(std::memory_order_acquire) <= address) {
    return foreign();
  }
  tally.spurious.add_one();
  return {};
}

/// Returns where the kernel would have put a signal's frame, at least as far down as the stack may
/// reach.
std::uintptr_t signal_frame_address(const Fault& fault, const SlotView& slot) noexcept {
  const std::uintptr_t lowest = fault.stack_pointer - signal_frame_bytes();
  return std::min(std::max(lowest, slot.floor), slot.limit - 1);
}

bool runs_elsewhere(const Fault& fault, const SlotView& slot) noexcept {
  return fault.stack_pointer < slot.guard || fault.stack_pointer > slot.base;
}

/// Returns whether a frame that is larger than the guard has taken the stack pointer below the
/// slot: to where no stack is, or, close below, to memory of somebody else's, from where it touches
/// the guard.
bool ran_past_guard(const Fault& fault, const PinnedSlot& pinned, const SlotView& slot,
                    const SlotRecord* runs_on) noexcept {
  if (fault.stack_pointer >= slot.guard) {
    return false;
  }
  const bool touches_guard = fault.address < slot.floor;
  const bool is_close = fault.stack_pointer + reach_below_stack_pointer >= slot.guard;
  return runs_on == &pinned.slot() || in_vacant_slot(pinned.range(), fault.stack_pointer) ||
         (runs_on == nullptr && touches_guard && is_close);
}

/// A vfork child may be killed at any moment, and its pin would stay in its parent's memory. It
/// needs none on the stack that it runs on: that is its parent's, who waits.
Pin need_of_pin(std::uintptr_t address, const SlotRecord* runs_on, bool vfork_child) noexcept {
  const bool runs_there = vfork_child && runs_on != nullptr && live_slot(address) == runs_on;
  return runs_there ? Pin::not_needed : Pin::needed;
}

/// The monitor takes the permission from a page for which it was refused the memory, so that the
/// touch raises a signal. A system call only failed then, and the program goes on. By now there may
/// be memory. If there is, the limit lies below the page, so this happens once for a page.
bool monitor_was_refused(const SlotView& slot, const Fault& fault) noexcept {
  return slot.growth == Growth::by_monitor && pages_were_refused() && fault.code == SEGV_ACCERR &&
         slot.floor <= fault.address && fault.address < slot.limit;
}

/// Does everything that needs the slot pinned. `is_sent`: the fault is the one behind a signal that
/// this process sent to itself. It is served if it still waits for that: the stack grows, or it has
/// overflowed. Otherwise the signal is what it says, and kills.
Resolution resolve(const Fault& fault, bool is_sent) noexcept {
  const SlotRecord* const runs_on = running_stack(fault.stack_pointer);
  const std::uintptr_t address = address_to_judge_by(fault, runs_on);
  const bool vfork_child = in_vfork_child();
  const PinnedSlot pinned(address, need_of_pin(address, runs_on, vfork_child));
  if (!pinned) {
    return foreign();
  }
  const SlotView slot = view(pinned.slot());
  if (monitor_was_refused(slot, fault)) {
    const int error = grow_here(pinned.range(), pinned.slot(), fault.address);
    return error == 0 ? Resolution{} : give_up(pinned, error);
  }
  const Outcome outcome =
      classify(fault, slot, signal_frame_bytes(), ran_past_guard(fault, pinned, slot, runs_on));
  const bool still_waits = outcome == Outcome::growth || outcome == Outcome::overflow;
  switch (is_sent && !still_waits ? Outcome::foreign : outcome) {
    case Outcome::growth:
      count_growth(pinned.slot(), runs_elsewhere(fault, slot));
      return grow_to(pinned, fault.address, vfork_child);
    case Outcome::lost_signal_frame:
      tally.lost_signal_frame.add_one();
      if (!fault.may_be_bad_address) {
        report_lost_signal(pinned.slot(), fault);
      }
      return grow_to(pinned, signal_frame_address(fault, slot), vfork_child);
    case Outcome::spurious:
      return try_again(pinned.slot(), fault.address);
    case Outcome::discarded:
      return may_be_lost_signal_frame(fault) ? fill_for_signal_frame(pinned, fault)
                                             : fill_again(pinned, fault.address);
    case Outcome::overflow:
      tally.overflow.add_one();
      return give_up(pinned, 0);
    case Outcome::foreign:
      break;
  }
  return foreign();
}

Resolution resolve_raised(const Fault& fault) noexcept {
  const Resolution resolution = resolve(fault, false);
  const bool is_foreign = resolution.kind == Resolution::forward;
  return is_foreign && report_overflow_of_alternate_stack(fault) ? Resolution{Resolution::die}
                                                                 : resolution;
}

void on_fault(int level, int signal, siginfo_t* info, void* context) noexcept {
  const KeepErrno keep_errno;
  const auto& registers = *static_cast<const ucontext_t*>(context);
  const bool is_sent = was_sent_by_ourselves(*info);
  const Fault told = read_fault(signal, *info, registers);
  const Fault fault = is_sent ? fault_behind(told, registers) : told;
  if (!is_sent) {
    last_fault = fault.address;
  }
  const Resolution resolution = is_sent ? resolve(fault, true) : resolve_raised(fault);
  switch (resolution.kind) {
    case Resolution::resume:
      return;
    case Resolution::die:
      die_by_default(signal, *info, context);
      return;
    case Resolution::give_up:
      switch (
          resolution.operations->on_overflow(*resolution.slot, fault, context, resolution.error)) {
        case Disposition::forward:
          break;
      }
      break;
    case Resolution::forward:
      break;
  }
  forward(level, signal, info, context);
}

template <int level>
void enter(int signal, siginfo_t* info, void* context) noexcept {
  on_fault(level, signal, info, context);
}

template <int... levels>
constexpr std::array<Entry, level_count> make_entries(
    std::integer_sequence<int, levels...> /*all*/) noexcept {
  return {enter<levels>...};
}

constexpr auto entries = make_entries(std::make_integer_sequence<int, level_count>());

}  // namespace

Entry entry_of(int level) noexcept { return entries[static_cast<std::size_t>(level)]; }

int level_of(const struct sigaction& action) noexcept {
  const auto* const found = std::find(entries.begin(), entries.end(), action.sa_sigaction);
  return (action.sa_flags & SA_SIGINFO) == 0 || found == entries.end()
             ? -1
             : static_cast<int>(found - entries.begin());
}

}  // namespace growstack::handler
