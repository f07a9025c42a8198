// Which kept signals the program blocks in a thread, and what was sent to it meanwhile.
//
// While a handler of the program runs, the signals of its mask are blocked in the program's view,
// as the kernel would block them. The kernel undoes that when the handler returns, and
// siglongjmp(3) does if the handler leaves by a jump. But it asks nobody, so we find out: the
// handler has been left when the thread runs anywhere else than on the alternate stack below the
// frame that called the handler. (If the handler has switched to another stack, it counts as left,
// too. Then a crash there comes to the handler, and does not kill at once.)
#include "adapters/keep_handler/kept.hpp"
#include "adapters/keep_handler/libc.hpp"
#include "adapters/keep_handler/thread_view.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace growstack::keep {
namespace {

/// A handler of the program that we called.
struct RunningHandler {
  std::uintptr_t stack_begin = 0;  ///< of the alternate stack
  std::uintptr_t frame = 0;        ///< of the caller; the handler runs below it
  std::uint64_t blocked_outside = 0;

  [[nodiscard]] bool is_left(std::uintptr_t stack_pointer) const noexcept {
    return stack_pointer < stack_begin || stack_pointer > frame;
  }
};

/// A signal that was sent while it was blocked.
struct HeldSignal {
  siginfo_t info{};
  std::atomic<pid_t> process{0};  ///< 0: none. A forked child has no pending signals.
};

/// As in the kernel, one of each signal can wait for the thread, and another one for the process. A
/// second one is dropped.
constexpr int queues = 2;
int queue_of(const siginfo_t& info) noexcept { return info.si_code == SI_TKILL ? 0 : 1; }

struct ThreadMask {
  std::atomic<std::uint64_t> blocked{0};
  std::uint64_t unblocked = 0;   ///< by unblock()
  std::uint64_t given_back = 0;  ///< `times_given_back` then
  HeldSignal held_segv[queues];
  HeldSignal held_bus[queues];
  /// Handlers that run inside of each other. Of those that do not fit, the mask is not known.
  static constexpr unsigned most_running = 8;
  RunningHandler running[most_running];
  std::atomic<unsigned> running_count{0};
};
[[gnu::tls_model("initial-exec")]] constinit thread_local ThreadMask here;

HeldSignal (&held_of(int signal) noexcept)[queues] {
  return signal == SIGBUS ? here.held_bus : here.held_segv;
}

bool is_here(const HeldSignal& held) noexcept {
  const pid_t process = held.process.load(std::memory_order_relaxed);
  return process != 0 && process == getpid();
}

/// Ends the entries of handlers that were left by a jump.
void note_left_handlers(std::uintptr_t stack_pointer) noexcept {
  unsigned count = here.running_count.load(std::memory_order_relaxed);
  while (count > 0 && here.running[count - 1].is_left(stack_pointer)) {
    --count;
    here.blocked.store(here.running[count].blocked_outside, std::memory_order_relaxed);
    here.running_count.store(count, std::memory_order_relaxed);
  }
}

/// Has the kernel deliver a held signal, which it does at once. Any si_code is allowed towards our
/// own thread.
void deliver(HeldSignal& held) noexcept {
  const siginfo_t info = held.info;
  const bool is_mine = is_here(held);
  if (held.process.exchange(0, std::memory_order_relaxed) != 0 && is_mine) {
    syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), info.si_signo, &info);
  }
}

/// Returns where the alternate stack begins that the thread runs on, or 0.
std::uintptr_t alternate_stack_begin() noexcept {
  stack_t stack{};
  const bool runs_there =
      libc.sigaltstack.get()(nullptr, &stack) == 0 && (stack.ss_flags & SS_ONSTACK) != 0;
  return runs_there ? reinterpret_cast<std::uintptr_t>(stack.ss_sp) : 0;
}

}  // namespace

std::uint64_t blocked(std::uintptr_t stack_pointer) noexcept {
  note_left_handlers(stack_pointer);
  return here.blocked.load(std::memory_order_relaxed);
}

void set_blocked(std::uint64_t signals) noexcept {
  const int error = errno;
  here.blocked.store(signals, std::memory_order_relaxed);
  for (const int signal : {SIGSEGV, SIGBUS}) {
    for (HeldSignal& held : held_of(signal)) {
      // Looked at anew each time, because a handler that was called meanwhile may have blocked it.
      if ((here.blocked.load(std::memory_order_relaxed) & bit(signal)) == 0) {
        deliver(held);
      }
    }
  }
  errno = error;
}

std::uint64_t held() noexcept {
  std::uint64_t signals = 0;
  for (const int signal : {SIGSEGV, SIGBUS}) {
    for (const HeldSignal& held : held_of(signal)) {
      signals |= is_here(held) ? bit(signal) : 0;
    }
  }
  return signals;
}

void drop_held(int signal) noexcept {
  for (HeldSignal& held : held_of(signal)) {
    held.process.store(0, std::memory_order_relaxed);
  }
}

int unblock() noexcept {
  const std::uint64_t signals = kept.load(std::memory_order_relaxed);
  const std::uint64_t given_back = times_given_back.load(std::memory_order_relaxed);
  if (here.unblocked == signals && here.given_back == given_back) {
    return 0;
  }
  sigset_t before{};
  libc.pthread_sigmask.get()(SIG_BLOCK, nullptr, &before);
  here.blocked.fetch_and(~given_back_between(here.given_back, given_back),
                         std::memory_order_relaxed);
  // Blocked since before the signal was kept: the program's view is that it still is. Noted first,
  // because one that waits arrives at once.
  here.blocked.fetch_or(word(before) & signals, std::memory_order_relaxed);
  sigset_t set{};
  set_word(set, signals);
  const int error = libc.pthread_sigmask.get()(SIG_UNBLOCK, &set, nullptr);
  if (error == 0) {
    here.unblocked = signals;
    here.given_back = given_back;
  }
  return error;
}

bool is_blocked(int signal, std::uintptr_t stack_pointer) noexcept {
  return (blocked(stack_pointer) & bit(signal)) != 0;
}

void give_back_blocked(int signal) noexcept {
  here.unblocked &= ~bit(signal);
  if ((here.blocked.fetch_and(~bit(signal), std::memory_order_relaxed) & bit(signal)) != 0) {
    sigset_t set{};
    set_word(set, bit(signal));
    libc.pthread_sigmask.get()(SIG_BLOCK, &set, nullptr);
  }
  for (HeldSignal& held : held_of(signal)) {
    deliver(held);
  }
}

void hold(const siginfo_t* info) noexcept {
  HeldSignal& held = held_of(info->si_signo)[queue_of(*info)];
  if (!is_here(held)) {
    held.info = *info;
    held.process.store(getpid(), std::memory_order_relaxed);
  }
}

void begin_handler(std::uintptr_t stack_pointer, sigset_t* interrupted, sigset_t* mask) noexcept {
  const std::uint64_t signals = kept.load(std::memory_order_relaxed);
  const std::uint64_t outside = blocked(stack_pointer);
  set_word(*interrupted, word(*interrupted) | outside);
  const std::uint64_t inside = (word(*mask) | outside) & signals;
  *mask = without(*mask, signals);

  const std::uintptr_t stack_begin = alternate_stack_begin();
  const unsigned count = here.running_count.load(std::memory_order_relaxed);
  if (stack_begin == 0 || count == ThreadMask::most_running) {
    return;
  }
  here.running[count] = {.stack_begin = stack_begin,
                         .frame = reinterpret_cast<std::uintptr_t>(mask),
                         .blocked_outside = outside};
  here.running_count.store(count + 1, std::memory_order_relaxed);
  here.blocked.store(inside, std::memory_order_relaxed);
}

void end_handler(sigset_t* interrupted, const sigset_t* mask) noexcept {
  note_left_handlers(reinterpret_cast<std::uintptr_t>(mask) + 1);
  const std::uint64_t signals = kept.load(std::memory_order_relaxed);
  const std::uint64_t outside = word(*interrupted) & signals;
  *interrupted = without(*interrupted, signals);
  set_blocked(outside);
}

}  // namespace growstack::keep
