// What the owner of ranges keeps for later although nobody uses it now.
#pragma once

#include <growstack/export.hpp>

#include <chrono>

namespace growstack::handler {

/// Gives back what is kept. Both functions may take locks, and must not throw.
struct IdleKeeper {
  /// Gives everything back that nobody uses now. uninstall() calls it first.
  void (*give_all_back)() noexcept;
  /// Gives back what is due. Returns after what time to call it again; 0: nothing is kept.
  std::chrono::milliseconds (*give_due_back)() noexcept;
};

/// Sets who keeps something in this process. `keeper` must stay for ever. Any thread.
GROWSTACK_EXPORT void set_idle_keeper(const IdleKeeper& keeper) noexcept;

/// Sees to it that give_due_back() is called after that time, and again as often as it asks for,
/// also if the program makes no call into this library any more. The thread that waits for reports
/// calls it, so the process has no further one. Does nothing if that is seen to. Starts no thread:
/// install() does. Any thread that holds no lock which give_due_back() takes; not from a signal
/// handler. Returns 0, or EAGAIN if the process has no such thread: before install(), in a forked
/// child before an install() of its own, if set_symbolizer() says so, or if none could be had.
[[nodiscard]] GROWSTACK_EXPORT int look_after_idle(std::chrono::milliseconds delay) noexcept;

/// Gives back the alternate signal stacks of threads that have ended. Up to 16 are kept for threads
/// that are still to be attached, each with at most the memory resident that a growth uses there (8
/// KiB). uninstall() calls this. Any thread.
GROWSTACK_EXPORT void give_alternate_stacks_back() noexcept;

}  // namespace growstack::handler
