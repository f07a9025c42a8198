// What a fault asks of the symbolizer: to give back what is kept although nobody uses it, because
// memory was refused. The faulting thread cannot do that, because it takes locks.
#pragma once

#include <atomic>
#include <cstdint>

namespace growstack::handler {

/// Asks the symbolizer to give all of that back, and waits until it has, for a bounded time: it
/// may need a lock that the faulting thread holds. Returns whether it has. Returns false at once if
/// nothing is kept, or there is no such thread. Signal handlers.
[[nodiscard]] bool have_idle_given_back() noexcept;

/// Makes the symbolizer look at what it has to do, by changing the word that it waits on while it
/// is parked. What the word says stays the same. Signal handlers.
void wake_parked_thread(std::atomic<std::uint32_t>& state) noexcept;

}  // namespace growstack::handler
