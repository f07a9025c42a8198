// The way of a fault, top to bottom. notes/life-of-a-fault.md walks the same steps.
//
// Everything below runs in a signal handler, on the alternate stack, with every signal blocked. It
// takes no lock, allocates nothing and calls nothing but:
//
//     look-up, classification, plan    our own arithmetic on atomics; classification asks
//     getauxval(3), which reads memory fstat, write                     signal-safety(7) lists
//     them: the request pipe. write, ppoll and rt_sigtimedwait by
//                                      syscall(3), because libc's are cancellation points
//     sched_getcpu, sched_setaffinity  the request pipe: reads a word of the kernel's, and a bare
//     system call futex, tgkill, rt_tgsigqueueinfo bare system calls through syscall(3), which
//     touches nothing but errno mprotect, madvise, ioctl         bare system calls; POSIX does not
//     list them, Linux does not mind: they touch no
//                                      memory of libc's. Which one commits is the range's operation
//     sigaction, pthread_sigmask       listed; forwarding
//     rt_sigtimedwait                  takes back a SIGPIPE of ours
//     clock_gettime, ppoll, sigpending, getpid, prctl, gettid
//                                      listed, or bare system calls; the report
//     the unwinder                     only for a report, when nothing can be lost any more; warmed
//     up beforehand, and
//                                      since glibc 2.35 it finds objects without a lock
//                                      (_dl_find_object)
//
// errno is kept. Thread-local variables are not touched, but for errno.
#include "fault/on_fault.hpp"

#include <growstack/handler/classify.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/handler/ranges.hpp>
#include <growstack/handler/report.hpp>

#include "fault/forward.hpp"
#include "fault/grow.hpp"
#include "machine/machine.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace growstack::handler {
namespace {

class KeepErrno {
 public:
  KeepErrno() noexcept : kept_(errno) {}
  ~KeepErrno() { errno = kept_; }
  KeepErrno(const KeepErrno&) = delete;
  KeepErrno& operator=(const KeepErrno&) = delete;

 private:
  int kept_;
};

/// Written by faulting threads, read by counters(); statistics only.
struct Tally {
  std::atomic<std::uint64_t> spurious{0};
  std::atomic<std::uint64_t> lost_signal_frame{0};
  std::atomic<std::uint64_t> foreign{0};
  std::atomic<std::uint64_t> overflow{0};
} tally;

void count(std::atomic<std::uint64_t>& event) noexcept {
  event.fetch_add(1, std::memory_order_relaxed);
}

Fault read_fault(int signal, const siginfo_t& info, const ucontext_t& context) noexcept {
  return {.signal = signal,
          .address = reinterpret_cast<std::uintptr_t>(info.si_addr),
          .stack_pointer = machine::stack_pointer(context),
          .program_counter = machine::program_counter(context),
          .code = info.si_code,
          .access = machine::access(context),
          .may_be_bad_address = machine::may_be_bad_address(context),
          .page_present = machine::page_present(context)};
}

/// Where the kernel would have put a signal's frame, as far down as the stack may reach.
std::uintptr_t signal_frame_address(const Fault& fault, const SlotView& slot) noexcept {
  const std::uintptr_t lowest = fault.stack_pointer - signal_frame_bytes();
  return std::min(std::max(lowest, slot.floor), slot.limit - 1);
}

/// Asks the kernel, without a fault and without changing anything: FUTEX_WAKE_OP adds 0 to the
/// second word.
bool is_writable(std::uintptr_t address) noexcept {
  std::uint32_t first = 0;
  const std::uintptr_t second = address & ~(alignof(std::uint32_t) - 1);
  return syscall(SYS_futex, &first, FUTEX_WAKE_OP_PRIVATE, 0, nullptr, second,
                 FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 0)) >= 0;
}

Step page_of(std::uintptr_t address) noexcept {
  return {page_down(address), page_down(address) + page_size()};
}

bool runs_elsewhere(const Fault& fault, const SlotView& slot) noexcept {
  return fault.stack_pointer < slot.guard || fault.stack_pointer > slot.base;
}

/// Everything between classification and the return of the handler. False: forward the fault.
bool serve(const Fault& fault) noexcept {
  // The slot of the stack pointer where the kernel gave no address; just below, because a stack
  // pointer is an end.
  const PinnedSlot pinned(may_be_lost_signal_frame(fault) ? fault.stack_pointer - 1
                                                          : fault.address);
  if (!pinned) {
    count(tally.foreign);
    return false;
  }
  SlotRecord& slot = pinned.slot();
  const SlotView seen = view(slot);
  const bool ran_past_guard =
      fault.stack_pointer < seen.guard && in_vacant_slot(pinned.range(), fault.stack_pointer);

  int error = 0;
  switch (classify(fault, seen, signal_frame_bytes(), ran_past_guard)) {
    case Outcome::growth:
      count_growth(slot, runs_elsewhere(fault, seen));
      error = grow(pinned.range(), slot, fault.address);
      break;
    case Outcome::lost_signal_frame:
      count(tally.lost_signal_frame);
      if (!fault.may_be_bad_address) {
        report_lost_signal(slot, fault);
      }
      error = grow(pinned.range(), slot, signal_frame_address(fault, seen));
      break;
    case Outcome::spurious:
      if (!is_writable(fault.address)) {
        count(tally.foreign);  // committed by us, and forbidden by the program: its own guard page
        return false;
      }
      count(tally.spurious);
      break;
    case Outcome::discarded:
      // It may be there by now, put there by another thread: then nothing happens, and the
      // instruction is tried again.
      error = pinned.range().operations->commit(pinned.range(), slot, page_of(fault.address));
      if (error == ENOENT) {
        count(tally.foreign);  // a mapping that the program made there
        return false;
      }
      count(tally.spurious);
      break;
    case Outcome::foreign:
      count(tally.foreign);
      return false;
    case Outcome::overflow:
      count(tally.overflow);
      pinned.range().operations->on_overflow(slot, fault, 0);
      return false;
  }
  if (error != 0) {
    pinned.range().operations->on_overflow(slot, fault, error);
    return false;
  }
  return true;
}

}  // namespace

void on_fault(int signal, siginfo_t* info, void* context) noexcept {
  const KeepErrno keep_errno;
  if (!serve(read_fault(signal, *info, *static_cast<const ucontext_t*>(context)))) {
    forward(signal, info, context);
  }
}

Counters counters() noexcept {
  const auto read = [](const std::atomic<std::uint64_t>& event) {
    return event.load(std::memory_order_relaxed);
  };
  const GrowthTally growths = growth_tally();
  return {.growth = growths.growth,
          .remote_growth = growths.remote_growth,
          .spurious = read(tally.spurious),
          .lost_signal_frame = read(tally.lost_signal_frame),
          .foreign = read(tally.foreign),
          .overflow = read(tally.overflow),
          .by_helper = growths.by_helper,
          .helper_missing = growths.helper_missing};
}

}  // namespace growstack::handler
