// When the symbolizer is to look after what is kept although nobody uses it. It is the symbolizer,
// because most processes have that thread anyway, and it waits for nothing else.
#pragma once

#include <growstack/handler/idle.hpp>

#include <chrono>
#include <mutex>

namespace growstack::handler {

/// Set once, while the program is loaded.
void keep_idle_keeper(const IdleKeeper& keeper) noexcept;

/// Returns who keeps something, or null.
[[nodiscard]] const IdleKeeper* idle_keeper() noexcept;

/// Held by whoever gives back, and by whoever ends the symbolizer: that one would wait for a thread
/// that waits for a lock of its own. Taken before all other locks of this library, also at a
/// fork(2), which so waits for the end of a look.
[[nodiscard]] std::mutex& idle_lock() noexcept;

/// Sets when the next look is due, unless that is set, and wakes the symbolizer. Any thread that
/// is not a signal handler.
void set_next_look(std::chrono::nanoseconds delay) noexcept;

/// Returns whether a look will be due.
[[nodiscard]] bool has_next_look() noexcept;

/// Gives back what is due, if a look is due. For the symbolizer. Returns how long it may sleep.
[[nodiscard]] std::chrono::nanoseconds look_at_idle() noexcept;

}  // namespace growstack::handler
