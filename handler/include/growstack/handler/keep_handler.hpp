// Whether the component keep_handler keeps our handler first, and what that component and this
// library tell each other.
//
// The component (lib/adapters/keep_handler) replaces sigaction(2), sigprocmask(2), sigaltstack(2)
// and their relatives. It gives our handler to the kernel, and it gives the program what the
// program has set: *the program's view*. Both sides may be in different shared objects, and a
// process may have several copies of this library but uses one component, so they meet in a table
// that a symbol names.
#pragma once

#include <growstack/export.hpp>

#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>

namespace growstack::handler {

/// Returns true while the component keep_handler is in this process and keeps our handler for the
/// signal (SIGSEGV or SIGBUS) before every other one. Then it suffices to attach a thread once:
/// nobody who uses libc can put another handler in front, block the signal, or leave the thread
/// without a large enough alternate signal stack. False before install(). Any thread, signal
/// handlers included.
[[nodiscard]] GROWSTACK_EXPORT bool is_kept(int signal) noexcept;

/// What the component offers. Whoever is not part of growstack has no use for it. All functions may
/// be called in a signal handler. Masks have one bit for each signal, as the kernel's have.
struct KeepHandler {
  /// Is libc's own sigaction(2).
  int (*sigaction)(int signal, const struct sigaction* action, struct sigaction* old);
  /// Is libc's own pthread_sigmask(3).
  int (*sigmask)(int how, const sigset_t* mask, sigset_t* old);
  /// Is libc's own sigaltstack(2).
  int (*sigaltstack)(const stack_t* stack, stack_t* old);

  /// Makes `first` the action that the kernel has. What the kernel had becomes the program's
  /// action. `in_vfork_child` tells whether the caller shares its memory with another process,
  /// whose view it must not change. Returns 0 or an errno.
  int (*keep)(int signal, const struct sigaction* first, bool (*in_vfork_child)());
  /// Gives the program's action back to the kernel. Returns 0 or an errno.
  int (*give_back)(int signal);
  /// Returns the handler that keep() made the first one, or null.
  void (*(*first)(int signal))(int, siginfo_t*, void*);
  /// Returns the program's action.
  struct sigaction (*action)(int signal);
  /// Returns the program's action for one call of its handler. One with SA_RESETHAND is given to
  /// the first caller only.
  struct sigaction (*take_action)(int signal);

  /// Changes whenever a signal is kept or given back, and whenever the program sets the alternate
  /// stack of an attached thread. While it is the same, what a thread has found of its mask and its
  /// alternate stack stays so. Never 0.
  const std::atomic<std::uint64_t>* changes;

  /// Unblocks the kept signals in this thread, for good. Costs nothing the second time. The
  /// program's view stays as it is.
  int (*unblock)();
  /// Returns whether the program blocks the signal in this thread, for code that runs at the stack
  /// pointer.
  bool (*is_blocked)(int signal, std::uintptr_t stack_pointer);
  /// Keeps a signal that was sent until the program unblocks it in this thread.
  void (*hold)(const siginfo_t* info);
  /// Is called before the program's handler. `interrupted` is the mask to which the kernel
  /// returns from the handler, `mask` the one under which the handler is going to run; `mask` lies
  /// in the frame that calls the handler. This function gives both the bits that the program
  /// set, and takes from `mask` what the kernel must not see.
  void (*begin_handler)(std::uintptr_t stack_pointer, sigset_t* interrupted, sigset_t* mask);
  /// Is called after the handler, and takes over what it has made of `interrupted`.
  void (*end_handler)(sigset_t* interrupted, const sigset_t* mask);

  /// From now on, gives this thread the alternate stack `ours` whenever the program sets none of
  /// `least` bytes, and at once if `now`. Returns 0 or an errno: EPERM on the alternate stack
  /// itself.
  int (*keep_alternate_stack)(const stack_t* ours, std::size_t least, bool now);
  /// Ends that, and gives the program's alternate stack back to the kernel. Returns 0 or an errno:
  /// EPERM on the alternate stack itself.
  int (*give_back_alternate_stack)(const stack_t* ours);
};

}  // namespace growstack::handler

extern "C" {
/// The component's table. The number changes with KeepHandler.
GROWSTACK_EXPORT extern const growstack::handler::KeepHandler growstack_keep_handler_2;
}
