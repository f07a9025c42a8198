// What a library keeps for later although nobody uses it now, and who sees to it that it goes.
//
// growstack::growstack calls set_idle_keeper() when it is loaded, and look_after_idle() whenever it
// keeps a stack. A process has one keeper. So these two are only for programs that use
// growstack::handler alone. If you use growstack::growstack, call growstack::trim().
#pragma once

#include <growstack/export.hpp>

#include <chrono>

namespace growstack::handler {

/// Two functions of whoever keeps something. Both may take locks, and must not throw.
struct IdleKeeper {
  /// Gives back everything that is kept and not in use. Called first by uninstall(), and by the
  /// symbolizer thread when memory is refused to a stack that grows.
  void (*give_all_back)() noexcept;
  /// Gives back what was kept long enough. Returns after what time to call it again; 0: nothing is
  /// kept. Called by the symbolizer thread when the time is over that look_after_idle() was given.
  std::chrono::milliseconds (*give_due_back)() noexcept;
};

/// Sets the keeper of this process, in place of the one that was set before. Only for programs that
/// use growstack::handler alone: growstack::growstack has set its own one. `keeper` must stay for
/// ever. Any thread.
GROWSTACK_EXPORT void set_idle_keeper(const IdleKeeper& keeper) noexcept;

/// Lets the symbolizer thread call the keeper's give_due_back() when `delay` has passed, and from
/// then on as often as that function asks for, also if the program makes no call into this library
/// any more. If such a call is due already, sooner or later than that, changes nothing. The keeper
/// calls this when it begins to keep something. Starts no thread: install() does. Any thread that
/// holds no lock which give_due_back() takes; not from a signal handler. Returns 0, or EAGAIN if
/// the process has no symbolizer thread: before install(), in a forked child before an install() of
/// its own, if set_symbolizer() (report.hpp) says so, or if it could not be had.
[[nodiscard]] GROWSTACK_EXPORT int look_after_idle(std::chrono::milliseconds delay) noexcept;

/// Gives back the alternate signal stacks of threads that have ended. Up to 16 are kept for threads
/// that are still to be attached. Each has at most 12 KiB resident: what a growth uses there, and a
/// page with a mark. uninstall() and growstack::trim() call this. Any thread.
GROWSTACK_EXPORT void give_alternate_stacks_back() noexcept;

}  // namespace growstack::handler
