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
  if (handler == SIG_ERR) {
    errno = EINVAL;
    return SIG_ERR;
  }
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  set_word(action.sa_mask, mask);
  struct sigaction before {};
  return change_action(signal, &action, &before) == 0 ? before.sa_handler : SIG_ERR;
}

/// Calls libc's function for a signal that is not kept. It sets a mask without kept signals.
template <class Function, class... Arguments>
auto call_libc(Function* function, int signal, Arguments... arguments) noexcept {
  const auto result = function(signal, arguments...);
  forget_removed_bits(signal);
  return result;
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
    return call_libc(libc.signal.get(), signal, handler);
  }
  const bool interrupts = (interrupting.load(std::memory_order_relaxed) & bit(signal)) != 0;
  return set_handler(signal, handler, interrupts ? 0 : SA_RESTART, bit(signal));
}

GROWSTACK_EXPORT SignalHandler keep_sysv_signal(int signal, SignalHandler handler) noexcept
    __asm__("sysv_signal");
SignalHandler keep_sysv_signal(int signal, SignalHandler handler) noexcept {
  constexpr int once = static_cast<int>(SA_RESETHAND);
  return is_kept_here(signal) ? set_handler(signal, handler, once | SA_NODEFER, 0)
                              : call_libc(libc.sysv_signal.get(), signal, handler);
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
    return call_libc(libc.sigignore.get(), signal);
  }
  return set_handler(signal, SIG_IGN, 0, 0) == SIG_ERR ? -1 : 0;
}

GROWSTACK_EXPORT SignalHandler keep_sigset(int signal, SignalHandler handler) noexcept
    __asm__("sigset");
SignalHandler keep_sigset(int signal, SignalHandler handler) noexcept {
  if (!is_kept_here(signal)) {
    return call_libc(libc.sigset.get(), signal, handler);
  }
  const bool holds = handler == SIG_HOLD;
  const SignalHandler before =
      holds ? program_action(signal).sa_handler : set_handler(signal, handler, 0, 0);
  if (before == SIG_ERR) {
    return SIG_ERR;
  }
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
