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
  const std::uint64_t before = idle_arenas_given_back();
  try {
    return make();
  } catch (const std::system_error& error) {
    const int code = error.code().value();
    if (code != ENOMEM && code != EAGAIN) {
      throw;
    }
    give_idle_arenas_back();
    if (idle_arenas_given_back() == before) {
      throw;
    }
  }
  return make();
}

}  // namespace growstack
