// The stacks that call(options, f) and Thread(options, f) leave behind, kept for the next ones.
//
// Equal options share a pool that the program does not see: a PoolCore with a short retention. A
// thread finds the pool of its last options by itself (kept_here.hpp); other options are looked up
// under a lock. There are few such pools. If there is need for another one, the idle pool goes that
// was used longest ago.
//
// A pool goes entirely when no stack of it was acquired for a whole interval of retention, and none
// is out. Otherwise its demand decides, as in any pool, but never keeps fewer than were out at the
// same time in that interval. Somebody has to look at the time:
// handler::look_after_idle() does.
#pragma once

#include "arenas/idle_arenas.hpp"
#include "arenas/open_slot.hpp"

#include <growstack/options.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <system_error>

namespace growstack {

/// The interval in which these pools learn how deep to keep their stacks. It is longer than
/// `kept_for`, because samples, each of which grows anew, would be too frequent for calls that come
/// some times in a second.
inline constexpr std::chrono::milliseconds kept_depth_learned_in{10'000};

/// As many sets of options have kept stacks at a time.
inline constexpr std::size_t most_kept_pools = 16;

/// Returns a stack of these options: a kept one, or a new one that will be kept. It goes back by
/// the end of its Stack. Null if such stacks are not kept: then the caller makes one of its own.
/// Any thread, not from a signal handler. Throws what Stack's constructor throws.
[[nodiscard]] OpenSlot acquire_kept(const StackOptions& options);

/// Gives back all that is kept and idle now, and waits for what others give back. Any thread that
/// holds no lock of this library.
void give_kept_pools_back() noexcept;

/// Returns how often anybody has given something back so far.
[[nodiscard]] std::uint64_t times_kept_pools_given_back() noexcept;

/// Gives back what was kept long enough. Returns after what time to call it again; 0: nothing is
/// kept. Any thread that holds no lock of this library.
std::chrono::milliseconds give_due_kept_pools_back() noexcept;

/// Returns whether an error says that there is too little of something that kept stacks hold:
/// memory, address space, mappings, a budget, or memory that may be locked.
[[nodiscard]] bool is_shortage(const std::system_error& error, Strategy strategy) noexcept;

/// Returns make(). If that fails for want of something that kept stacks hold, gives these back and
/// tries once more, also if another thread gave them back meanwhile. The caller must hold no lock
/// of this library.
template <class Make>
auto or_instead_of_kept(Strategy strategy, Make make) {
  return after_giving_back(
      make, [strategy](const std::system_error& error) { return is_shortage(error, strategy); },
      give_kept_pools_back, times_kept_pools_given_back);
}

}  // namespace growstack
