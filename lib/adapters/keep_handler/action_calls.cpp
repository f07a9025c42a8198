// sigaction(2), signal(2) and their relatives. For a signal that is kept they are written in terms
// of the program's action, as libc writes them in terms of the kernel's.
//
// Each function here has a name of our own in C++ and libc's name in the object file, because the
// headers of libc declare some of them as macros, as deprecated, or not at all.
#include "adapters/keep_handler/actions.hpp"
#include "adapters/keep_handler/kept.hpp"
#include "adapters/keep_handler/libc.hpp"
#include "adapters/keep_handler/replacements.hpp"
#include "adapters/keep_handler/thread_view.hpp"

#include <growstack/export.hpp>

#include <atomic>
#include <cerrno>

namespace growstack::keep {

int change_action(int signal, const struct sigaction* action, struct sigaction* old) noexcept {
  const std::uint64_t signals = kept_here();
  if (!is_signal(signal) || (signals & bit(signal)) == 0) {
    return signals == 0 ? libc.sigaction.get()(signal, action, old)
                        : change_other_action(signal, action, old, signals);
  }
  if (action == nullptr) {
    if (old != nullptr) {
      *old = program_action(signal);
    }
    return 0;
  }
  const bool ignores = action->sa_handler == SIG_IGN;
  if (const int error = exchange_program_action(signal, *action, old); error != 0) {
    errno = error;
    return -1;
  }
  if (ignores) {
    drop_held(signal);
  }
  return 0;
}

namespace {

/// Signals that siginterrupt(3) has told to interrupt system calls.
constinit std::atomic<std::uint64_t> interrupting{0};

/// Sets the program's action for a kept signal. Returns the handler before, or SIG_ERR.
SignalHandler set_handler(int signal, SignalHandler handler, int flags,
                          std::uint64_t mask) noexcept {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  set_word(action.sa_mask, mask);
  struct sigaction before {};
  return change_action(signal, &action, &before) == 0 ? before.sa_handler : SIG_ERR;
}

constexpr int once_and_nested = static_cast<int>(SA_RESETHAND) | SA_NODEFER;

SignalHandler refuse() noexcept {
  errno = EINVAL;
  return SIG_ERR;
}

/// Has libc set the handler of a signal that is not kept. Its functions set a mask without kept
/// signals.
SignalHandler set_by_libc(SetHandler* function, int signal, SignalHandler handler) noexcept {
  const SignalHandler before = function(signal, handler);
  if (before != SIG_ERR && handler != SIG_HOLD) {
    forget_removed_bits(signal);
  }
  return before;
}

}  // namespace
}  // namespace growstack::keep

using namespace growstack::keep;

extern "C" {

GROWSTACK_EXPORT int keep_sigaction(int signal, const struct sigaction* action,
                                    struct sigaction* old) noexcept __asm__("sigaction");
int keep_sigaction(int signal, const struct sigaction* action, struct sigaction* old) noexcept {
  return change_action(signal, action, old);
}

GROWSTACK_EXPORT SignalHandler keep_signal(int signal, SignalHandler handler) noexcept
    __asm__("signal");
SignalHandler keep_signal(int signal, SignalHandler handler) noexcept {
  if (!is_kept_here(signal)) {
    return set_by_libc(libc.signal.get(), signal, handler);
  }
  if (handler == SIG_ERR) {
    return refuse();
  }
  const bool interrupts = (interrupting.load(std::memory_order_relaxed) & bit(signal)) != 0;
  return set_handler(signal, handler, interrupts ? 0 : SA_RESTART, bit(signal));
}

GROWSTACK_EXPORT SignalHandler keep_sysv_signal(int signal, SignalHandler handler) noexcept
    __asm__("sysv_signal");
SignalHandler keep_sysv_signal(int signal, SignalHandler handler) noexcept {
  if (!is_kept_here(signal)) {
    return set_by_libc(libc.sysv_signal.get(), signal, handler);
  }
  return handler == SIG_ERR ? refuse() : set_handler(signal, handler, once_and_nested, 0);
}

GROWSTACK_EXPORT int keep_siginterrupt(int signal, int interrupts) noexcept __asm__("siginterrupt");
int keep_siginterrupt(int signal, int interrupts) noexcept {
  // libc remembers it for its own signal(3), and reads and writes only the kernel's flags.
  if (is_signal(signal)) {
    if (interrupts != 0) {
      interrupting.fetch_or(bit(signal), std::memory_order_relaxed);
    } else {
      interrupting.fetch_and(~bit(signal), std::memory_order_relaxed);
    }
  }
  if (!is_kept_here(signal)) {
    return libc.siginterrupt.get()(signal, interrupts);
  }
  struct sigaction action = program_action(signal);
  action.sa_flags = interrupts != 0 ? action.sa_flags & ~SA_RESTART : action.sa_flags | SA_RESTART;
  return change_action(signal, &action, nullptr);
}

GROWSTACK_EXPORT int keep_sigignore(int signal) noexcept __asm__("sigignore");
int keep_sigignore(int signal) noexcept {
  if (!is_kept_here(signal)) {
    const int result = libc.sigignore.get()(signal);
    if (result == 0) {
      forget_removed_bits(signal);
    }
    return result;
  }
  return set_handler(signal, SIG_IGN, 0, 0) == SIG_ERR ? -1 : 0;
}

GROWSTACK_EXPORT SignalHandler keep_sigset(int signal, SignalHandler handler) noexcept
    __asm__("sigset");
SignalHandler keep_sigset(int signal, SignalHandler handler) noexcept {
  if (!is_kept_here(signal)) {
    return set_by_libc(libc.sigset.get(), signal, handler);
  }
  // libc lets SIG_ERR be set here.
  const bool holds = handler == SIG_HOLD;
  const SignalHandler before =
      holds ? program_action(signal).sa_handler : set_handler(signal, handler, 0, 0);
  sigset_t only{};
  set_word(only, bit(signal));
  sigset_t mask_before{};
  if (change_mask(libc.sigprocmask.get(), holds ? SIG_BLOCK : SIG_UNBLOCK, &only, &mask_before) !=
      0) {
    return SIG_ERR;
  }
  return (word(mask_before) & bit(signal)) != 0 ? SIG_HOLD : before;
}

// Other names of the same functions.
[[gnu::alias("sigaction")]] GROWSTACK_EXPORT int keep_also_sigaction(int signal,
                                                                     const struct sigaction* action,
                                                                     struct sigaction* old) noexcept
    __asm__("__sigaction");
[[gnu::alias("signal")]] GROWSTACK_EXPORT SignalHandler
keep_bsd_signal(int signal, SignalHandler handler) noexcept __asm__("bsd_signal");
[[gnu::alias("signal")]] GROWSTACK_EXPORT SignalHandler keep_ssignal(int signal,
                                                                     SignalHandler handler) noexcept
    __asm__("ssignal");
[[gnu::alias("sysv_signal")]] GROWSTACK_EXPORT SignalHandler
keep_also_sysv_signal(int signal, SignalHandler handler) noexcept __asm__("__sysv_signal");
}
