// What a fault asks of the symbolizer: to give back what is kept although nobody uses it, because
// memory was refused. The faulting thread cannot do that, because it takes locks.
#pragma once

#include <atomic>
#include <cstdint>

namespace growstack::handler {

/// Returns a number that changes when the symbolizer begins to give back, and when it ends.
/// Signal handlers.
[[nodiscard]] std::uint32_t looks_at_idle() noexcept;

/// Asks the symbolizer to give all of that back, and waits until it has, for a bounded time: it
/// may need a lock that the faulting thread holds. Returns whether it has, or has given something
/// back since looks_at_idle() returned `before`. Does not wait if nothing is kept, and nothing is
/// being given back. Returns false if there is no such thread. Signal handlers.
[[nodiscard]] bool have_idle_given_back(std::uint32_t before) noexcept;

/// Makes the symbolizer look at what it has to do, by changing the word that it waits on while it
/// is parked. What the word says stays the same. Signal handlers.
void wake_parked_thread(std::atomic<std::uint32_t>& state) noexcept;

}  // namespace growstack::handler
