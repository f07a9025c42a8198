// Arenas in which no stack lives any more, kept for the next stack of their kind: mapping and
// unmapping an arena takes longer than all else that making and ending a stack does.
//
// Such an arena costs address space, a few mappings, and with guard_markers the page tables of its
// markers. It has no memory and no charge. There are few, they go after about a second, and all of
// them go when address space, mappings or memory are short.
#pragma once

#include "arenas/arena.hpp"

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <memory>
#include <system_error>

namespace growstack {

/// After so long without use, what is kept for the next stack begins to go: an arena, or a stack
/// (pool/kept_pools.hpp). It is long enough for a server that makes stacks now and then, and short
/// enough that nobody looks for memory that is only kept.
inline constexpr std::chrono::milliseconds kept_for{1000};

/// Calls `make`. If it throws a std::system_error that `is_shortage` accepts, calls `give_back`,
/// and then `make` once more, if something was given back by now: `times_given` tells how often any
/// thread has given something back so far.
template <class Make, class IsShortage>
auto after_giving_back(Make make, IsShortage is_shortage, void (*give_back)() noexcept,
                       std::uint64_t (*times_given)() noexcept) {
  const std::uint64_t before = times_given();
  try {
    return make();
  } catch (const std::system_error& error) {
    if (!is_shortage(error)) {
      throw;
    }
    give_back();
    if (times_given() == before) {
      throw;
    }
  }
  return make();
}

/// Keeps an arena without stacks, or destroys it. Calls nothing that allocates. Any thread.
void keep_idle(std::unique_ptr<Arena> arena) noexcept;

/// Returns an arena of that kind which was kept, or null. Any thread.
[[nodiscard]] std::unique_ptr<Arena> take_idle(const Kind& kind) noexcept;

/// Destroys all arenas that are kept, and waits for those that others destroy. Any thread.
void give_idle_arenas_back() noexcept;

/// Returns how many were destroyed so far, by any thread.
[[nodiscard]] std::uint64_t idle_arenas_given_back() noexcept;

/// Destroys those that were kept long enough. Returns after what time the next one is due; 0: none
/// is kept. Any thread.
std::chrono::milliseconds give_due_arenas_back() noexcept;

/// Calls `make`. If it throws std::system_error with ENOMEM or EAGAIN, destroys the arenas that are
/// kept: they may hold the address space or the mappings that it lacked. Calls it once more if
/// there were any, or another thread has destroyed them meanwhile.
template <class Make>
auto with_room_of_idle_arenas(Make make) {
  const auto is_shortage = [](const std::system_error& error) {
    return error.code().value() == ENOMEM || error.code().value() == EAGAIN;
  };
  return after_giving_back(make, is_shortage, give_idle_arenas_back, idle_arenas_given_back);
}

}  // namespace growstack
