// sigprocmask(2), sigaltstack(2) and all else of libc that sets or tells a mask of signals. The
// head of action_calls.cpp tells why the functions have two names.
#include "adapters/keep_handler/kept.hpp"
#include "adapters/keep_handler/libc.hpp"
#include "adapters/keep_handler/replacements.hpp"
#include "adapters/keep_handler/thread_view.hpp"

#include <growstack/export.hpp>

#include <cerrno>
#include <optional>

namespace growstack::keep {

int change_mask(ChangeMask* libc_function, int how, const sigset_t* mask, sigset_t* old) noexcept {
  const std::uint64_t signals = kept_here();
  if (signals == 0) {
    return libc_function(how, mask, old);
  }
  const std::uint64_t before =
      blocked(reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)));
  const std::uint64_t given = mask == nullptr ? 0 : word(*mask) & signals;
  sigset_t for_kernel{};
  if (mask != nullptr) {
    // To unblock one in the kernel is never wrong.
    for_kernel = how == SIG_UNBLOCK ? *mask : without(*mask, signals);
  }
  const int result = libc_function(how, mask == nullptr ? nullptr : &for_kernel, old);
  if (result != 0) {
    return result;
  }
  if (old != nullptr) {
    set_word(*old, word(*old) | before);
  }
  if (mask != nullptr) {
    set_blocked(how == SIG_BLOCK ? before | given : how == SIG_UNBLOCK ? before & ~given : given);
  }
  return 0;
}

namespace {

/// A mask for a call that waits, or for a new thread, without the kept signals.
class Stripped {
 public:
  explicit Stripped(const sigset_t* mask) noexcept {
    const std::uint64_t signals = mask == nullptr ? 0 : kept_here();
    if (signals == 0) {
      mask_ = mask;
    } else {
      copy_ = without(*mask, signals);
      mask_ = &copy_;
    }
  }
  ~Stripped() = default;
  Stripped(const Stripped&) = delete;
  Stripped& operator=(const Stripped&) = delete;
  [[nodiscard]] const sigset_t* get() const noexcept { return mask_; }

 private:
  sigset_t copy_{};
  const sigset_t* mask_;
};

/// The masks of 4.2BSD have one bit for each of the first signals.
int change_old_mask(int how, std::uint32_t bits) noexcept {
  sigset_t mask{};
  set_word(mask, bits);
  sigset_t before{};
  return change_mask(libc.sigprocmask.get(), how, &mask, &before) == 0
             ? static_cast<int>(word(before))
             : -1;
}

int change_one(int how, int signal) noexcept {
  sigset_t only{};
  sigemptyset(&only);
  return sigaddset(&only, signal) == 0 ? change_mask(libc.sigprocmask.get(), how, &only, nullptr)
                                       : -1;
}

}  // namespace
}  // namespace growstack::keep

using namespace growstack::keep;

extern "C" {

GROWSTACK_EXPORT int keep_sigprocmask(int how, const sigset_t* mask, sigset_t* old) noexcept
    __asm__("sigprocmask");
int keep_sigprocmask(int how, const sigset_t* mask, sigset_t* old) noexcept {
  return change_mask(libc.sigprocmask.get(), how, mask, old);
}

GROWSTACK_EXPORT int keep_pthread_sigmask(int how, const sigset_t* mask, sigset_t* old) noexcept
    __asm__("pthread_sigmask");
int keep_pthread_sigmask(int how, const sigset_t* mask, sigset_t* old) noexcept {
  return change_mask(libc.pthread_sigmask.get(), how, mask, old);
}

GROWSTACK_EXPORT int keep_sigblock(int mask) noexcept __asm__("sigblock");
int keep_sigblock(int mask) noexcept {
  return change_old_mask(SIG_BLOCK, static_cast<std::uint32_t>(mask));
}

GROWSTACK_EXPORT int keep_sigsetmask(int mask) noexcept __asm__("sigsetmask");
int keep_sigsetmask(int mask) noexcept {
  return change_old_mask(SIG_SETMASK, static_cast<std::uint32_t>(mask));
}

GROWSTACK_EXPORT int keep_siggetmask() noexcept __asm__("siggetmask");
int keep_siggetmask() noexcept { return change_old_mask(SIG_BLOCK, 0); }

GROWSTACK_EXPORT int keep_sighold(int signal) noexcept __asm__("sighold");
int keep_sighold(int signal) noexcept { return change_one(SIG_BLOCK, signal); }

GROWSTACK_EXPORT int keep_sigrelse(int signal) noexcept __asm__("sigrelse");
int keep_sigrelse(int signal) noexcept { return change_one(SIG_UNBLOCK, signal); }

GROWSTACK_EXPORT int keep_sigpending(sigset_t* set) noexcept __asm__("sigpending");
int keep_sigpending(sigset_t* set) noexcept {
  const int result = libc.sigpending.get()(set);
  if (result == 0) {
    set_word(*set, word(*set) | held());
  }
  return result;
}

GROWSTACK_EXPORT int keep_sigaltstack(const stack_t* stack, stack_t* old) noexcept
    __asm__("sigaltstack");
int keep_sigaltstack(const stack_t* stack, stack_t* old) noexcept {
  return change_alternate_stack(stack, old);
}

GROWSTACK_EXPORT int keep_pthread_attr_setsigmask_np(
    pthread_attr_t* attributes, const sigset_t* mask) __asm__("pthread_attr_setsigmask_np");
int keep_pthread_attr_setsigmask_np(pthread_attr_t* attributes, const sigset_t* mask) {
  return libc.pthread_attr_setsigmask_np.get()(attributes, Stripped(mask).get());
}

// The rest waits, with a mask of its own. A signal handler that runs meanwhile inherits the mask,
// and may run on a stack that grows. These functions may throw where a thread is cancelled.

GROWSTACK_EXPORT int keep_sigsuspend(const sigset_t* mask) __asm__("sigsuspend");
int keep_sigsuspend(const sigset_t* mask) { return libc.sigsuspend.get()(Stripped(mask).get()); }

GROWSTACK_EXPORT int keep_sigpause(int mask) __asm__("sigpause");
int keep_sigpause(int mask) { return libc.sigpause.get()(mask & ~static_cast<int>(kept_here())); }

GROWSTACK_EXPORT int keep_sigpause_either(int signal_or_mask, int is_signal) __asm__("__sigpause");
int keep_sigpause_either(int signal_or_mask, int is_signal) {
  return is_signal != 0 ? libc.sigpause_either.get()(signal_or_mask, is_signal)
                        : keep_sigpause(signal_or_mask);
}

GROWSTACK_EXPORT int keep_ppoll(pollfd* descriptors, nfds_t count, const timespec* patience,
                                const sigset_t* mask) __asm__("ppoll");
int keep_ppoll(pollfd* descriptors, nfds_t count, const timespec* patience, const sigset_t* mask) {
  return libc.ppoll.get()(descriptors, count, patience, Stripped(mask).get());
}

GROWSTACK_EXPORT int keep_ppoll_chk(pollfd* descriptors, nfds_t count, const timespec* patience,
                                    const sigset_t* mask, std::size_t bytes) __asm__("__ppoll_chk");
int keep_ppoll_chk(pollfd* descriptors, nfds_t count, const timespec* patience,
                   const sigset_t* mask, std::size_t bytes) {
  return libc.ppoll_chk.get()(descriptors, count, patience, Stripped(mask).get(), bytes);
}

GROWSTACK_EXPORT int keep_pselect(int count, fd_set* reads, fd_set* writes, fd_set* exceptions,
                                  const timespec* patience,
                                  const sigset_t* mask) __asm__("pselect");
int keep_pselect(int count, fd_set* reads, fd_set* writes, fd_set* exceptions,
                 const timespec* patience, const sigset_t* mask) {
  return libc.pselect.get()(count, reads, writes, exceptions, patience, Stripped(mask).get());
}

GROWSTACK_EXPORT int keep_epoll_pwait(int descriptor, epoll_event* events, int most, int patience,
                                      const sigset_t* mask) __asm__("epoll_pwait");
int keep_epoll_pwait(int descriptor, epoll_event* events, int most, int patience,
                     const sigset_t* mask) {
  return libc.epoll_pwait.get()(descriptor, events, most, patience, Stripped(mask).get());
}

GROWSTACK_EXPORT int keep_epoll_pwait2(int descriptor, epoll_event* events, int most,
                                       const timespec* patience,
                                       const sigset_t* mask) __asm__("epoll_pwait2");
int keep_epoll_pwait2(int descriptor, epoll_event* events, int most, const timespec* patience,
                      const sigset_t* mask) {
  return libc.epoll_pwait2.get()(descriptor, events, most, patience, Stripped(mask).get());
}

[[gnu::alias("sigsuspend")]] GROWSTACK_EXPORT int keep_also_sigsuspend(
    const sigset_t* mask) __asm__("__sigsuspend");
}
