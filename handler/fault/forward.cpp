#include "fault/forward.hpp"

#include "anywhere/fork_wiped.hpp"
#include "anywhere/keep_handler.hpp"
#include "anywhere/kernel_action.hpp"
#include "anywhere/raw_line.hpp"
#include "fault/on_fault.hpp"
#include "fault/pending_signals.hpp"
#include "machine/machine.hpp"

#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace growstack::handler {
namespace {

/// Two places, used in turn, so that a fault that is being forwarded reads the old action
/// undisturbed while a new one is set.
struct Previous {
  struct sigaction actions[2]{};
  std::atomic<unsigned> current{0};
  /// The handler has SA_RESETHAND and was called: the default action is left.
  std::atomic<bool> is_spent{false};
};
// Initialised before any code runs: a stack with static storage may install the handler before the
// static objects of this file would be made.
constinit Previous before_segv[level_count];
constinit Previous before_bus[level_count];

Previous& before(int level, int signal) noexcept {
  return (signal == SIGBUS ? before_bus : before_segv)[level];
}

using InfoHandler = void (*)(int, siginfo_t*, void*);

/// The bare system call, because what replaces sigaction(3) may keep its handler where it is.
bool restore_default(int signal) noexcept { return set_kernel_action(signal, {}) == 0; }

/// Returns whether the fault happens again when the handler returns, as one does that an
/// instruction raised. A signal that was sent (si_code <= 0: kill, tgkill, sigqueue) or that stands
/// for a failed signal delivery (SI_KERNEL) does not, nor does a word about broken memory that
/// nobody has touched yet (BUS_MCEERR_AO).
bool faults_again(const siginfo_t& info) noexcept {
  return info.si_code > 0 && info.si_code != SI_KERNEL &&
         !(info.si_signo == SIGBUS && info.si_code == BUS_MCEERR_AO);
}

/// Returns whether the kernel raised the signal because of what this thread does, and kills it if
/// it has no handler.
bool is_about_this_thread(const siginfo_t& info) noexcept {
  return faults_again(info) || info.si_code == SI_KERNEL;
}

/// Ends the process by a fault of our own. The kernel kills for one while its signal is blocked,
/// whatever the action is, and also the first process of a container. Every signal is blocked here.
[[noreturn]] void die_by_fault() noexcept {
  for (;;) {
    // The highest addresses are the kernel's.
    static_cast<void>(*reinterpret_cast<volatile char*>(UINTPTR_MAX));
  }
}

/// Returns the mask under which the previous handler would have run.
sigset_t mask_for(const struct sigaction& action, int signal, const ucontext_t& context) noexcept {
  sigset_t mask = context.uc_sigmask;
  sigorset(&mask, &mask, &action.sa_mask);
  if ((action.sa_flags & SA_NODEFER) == 0) {
    sigaddset(&mask, signal);
  }
  return mask;
}

constexpr int reset_hand = static_cast<int>(SA_RESETHAND);  // 2^31: an unsigned constant

struct sigaction default_instead_of(struct sigaction action) noexcept {
  action.sa_handler = SIG_DFL;
  action.sa_flags &= ~(SA_SIGINFO | reset_hand);
  return action;
}

/// Whether SA_SIGINFO is set makes no difference to the kernel.
bool is_default_or_ignored(const struct sigaction& action) noexcept {
  return action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN;
}

/// Returns the action to forward to. A handler that wants to be called once (SA_RESETHAND) goes to
/// the first of several threads only. A vfork child does not spend it for its parent, whose action
/// the kernel would not reset either.
struct sigaction take_action(int level, int signal) noexcept {
  if (const KeepHandler* const keeper = keeper_beneath(level, signal); keeper != nullptr) {
    return keeper->take_action(signal);
  }
  const struct sigaction action = previous_action(level, signal);
  const bool is_taken = !is_default_or_ignored(action) && (action.sa_flags & reset_hand) != 0 &&
                        !in_vfork_child() &&
                        before(level, signal).is_spent.exchange(true, std::memory_order_acq_rel);
  return is_taken ? default_instead_of(action) : action;
}

/// What this thread forwards. Left as it is by a handler that jumps out of our signal handler. So
/// it counts only if the signal's frame has the mark, too. That lies where the kernel writes null
/// for each signal (uc_link), and reads nothing.
struct Forwarding {
  const void* context = nullptr;  ///< of the fault
  unsigned levels = 0;            ///< bits: those that the fault was forwarded from
};
ucontext_t mark{};
// Initial-exec, because another model may allocate at the first use in a thread. (Allocates
// nothing, takes no lock.)
[[gnu::tls_model("initial-exec")]] constinit thread_local Forwarding forwarding;

/// Notes that the fault is forwarded from a level. Returns false if it was already, and came back.
bool begin_to_forward(int level, ucontext_t& context) noexcept {
  const unsigned bit = 1U << static_cast<unsigned>(level);
  const bool is_nested = forwarding.context == &context && context.uc_link != nullptr;
  if (is_nested && (forwarding.levels & bit) != 0) {
    return false;
  }
  forwarding = {&context, is_nested ? forwarding.levels | bit : bit};
  context.uc_link = &mark;
  return true;
}

void end_forwarding(int level, ucontext_t& context) noexcept {
  forwarding.levels &= ~(1U << static_cast<unsigned>(level));
  if (forwarding.levels == 0) {
    context.uc_link = nullptr;
  }
}

void say_that_it_came_back() noexcept {
  const KeepPendingSignals keep_pending_signals;
  RawLine line;
  line
      << "growstack: a fault that is not growstack's came back while it was forwarded, because two "
         "signal handlers call each other; the process ends by the default action";
  static_cast<void>(line.write_to_stderr());
}

}  // namespace

const KeepHandler* keeper_beneath(int level, int signal) noexcept {
  const KeepHandler* const component = keep_component();
  return component != nullptr && component->first(signal) == entry_of(level) ? component : nullptr;
}

struct sigaction previous_action(int level, int signal) noexcept {
  if (const KeepHandler* const keeper = keeper_beneath(level, signal); keeper != nullptr) {
    return keeper->action(signal);
  }
  const Previous& previous = before(level, signal);
  const struct sigaction& action =
      previous.actions[previous.current.load(std::memory_order_acquire)];
  return previous.is_spent.load(std::memory_order_acquire) ? default_instead_of(action) : action;
}

void set_previous_action(int level, int signal, const struct sigaction& action) noexcept {
  Previous& previous = before(level, signal);
  const unsigned next = 1 - previous.current.load(std::memory_order_relaxed);
  previous.actions[next] = action;
  previous.is_spent.store(false, std::memory_order_relaxed);
  previous.current.store(next, std::memory_order_release);
}

void die_by_default(int signal, const siginfo_t& info, void* context) noexcept {
  const bool is_first_process = getpid() == 1;
  // The kernel spares the first process of a container the default action of every signal that is
  // sent (pid_namespaces(7)), and of a word about memory that it has not touched.
  if (is_first_process && !is_about_this_thread(info)) {
    return;
  }
  const bool is_default = restore_default(signal);  // a filter may forbid it
  if (faults_again(info)) {
    if (!is_default) {
      sigaddset(&static_cast<ucontext_t*>(context)->uc_sigmask, signal);
    }
  } else if (is_first_process || !is_default) {
    die_by_fault();
  } else {
    // Any si_code is allowed towards our own process, but not by every filter.
    const auto self = static_cast<pid_t>(syscall(SYS_gettid));
    if (syscall(SYS_rt_tgsigqueueinfo, getpid(), self, signal, &info) != 0) {
      die_by_fault();
    }
  }
}

void forward(int level, int signal, siginfo_t* info, void* context) noexcept {
  auto& interrupted = *static_cast<ucontext_t*>(context);
  const std::uintptr_t stack_pointer = ThisMachine::stack_pointer(interrupted);
  const KeepHandler* const keeper = keeper_beneath(level, signal);
  if (keeper != nullptr && keeper->is_blocked(signal, stack_pointer)) {
    if (is_about_this_thread(*info)) {
      die_by_default(signal, *info, context);
    } else {
      keeper->hold(info);
    }
    return;
  }
  if (!begin_to_forward(level, interrupted)) {
    say_that_it_came_back();
    die_by_default(signal, *info, context);
    return;
  }
  const struct sigaction action = take_action(level, signal);
  if (action.sa_handler == SIG_IGN && !is_about_this_thread(*info)) {
    return;  // what is sent can be ignored; the kernel kills for a fault all the same
  }
  if (is_default_or_ignored(action)) {
    die_by_default(signal, *info, context);
    return;
  }
  sigset_t mask = mask_for(action, signal, interrupted);
  if (keeper != nullptr) {
    keeper->begin_handler(stack_pointer, &interrupted.uc_sigmask, &mask);
  }
  static_cast<void>(change_mask(SIG_SETMASK, &mask, nullptr));
  if ((action.sa_flags & SA_SIGINFO) != 0) {
    const InfoHandler handler = action.sa_sigaction;
    handler(signal, info, context);
  } else {
    action.sa_handler(signal);
  }
  if (keeper != nullptr) {
    keeper->end_handler(&interrupted.uc_sigmask, &mask);
  }
  end_forwarding(level, interrupted);
}

}  // namespace growstack::handler
