// Arenas: one reservation each, cut into slots of one size for one strategy. Every stack is a slot of an arena, single ones
// too, so that there is one mechanism. Stacks share an arena with others of their strategy and size; an arena without a live
// slot is released at once.
#pragma once

#include "strategies/implementation.hpp"

#include <growstack/handler/ranges.hpp>
#include <growstack/options.hpp>

#include <pthread.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace growstack {

/// The last trim of a stack by the code that ran on it, with the limit and the page faults that its thread had met by then:
/// as long as these are the same, nothing can have come to lie below what was kept. (But by another thread's touch; then a
/// later trim finds it.)
struct TrimWhileRunning {
  pthread_t thread{};
  long page_faults = -1;
  std::uintptr_t limit = 0;
  std::uintptr_t kept_from = 0;

  [[nodiscard]] bool leaves_nothing_to_do_for(const TrimWhileRunning& next) const noexcept {
    return page_faults >= 0 && thread == next.thread && page_faults == next.page_faults && limit == next.limit &&
           next.kept_from <= kept_from;
  }
};

/// What the library keeps of a stack beside its slot record. Constant while the slot is live, but for the last two.
struct Tenant {
  GrowthPolicy policy;                    ///< in whole pages
  std::atomic<bool> running{false};       ///< a call() runs on it
  TrimWhileRunning trim_while_running{};  ///< for whoever runs on it
};

class Arena;

/// Where a stack lives.
struct Place {
  Arena* arena = nullptr;
  std::uint32_t index = 0;

  [[nodiscard]] handler::SlotRecord& slot() const noexcept;
  [[nodiscard]] Tenant& tenant() const noexcept;
  [[nodiscard]] const Implementation& implementation() const noexcept;

  /// Implementation::trim.
  [[nodiscard]] int trim(std::uintptr_t keep_from) const noexcept;
};

/// Opens a stack in a slot. The options are validated and in whole pages. Any thread. Throws std::system_error.
[[nodiscard]] Place open_slot(const StackOptions& options);

/// Gives a stack's memory back, and its address space when it was the last of its arena. Any thread.
void close_slot(const Place& place) noexcept;

/// Live stacks and their bytes, all arenas together. Any thread; not from a signal handler.
struct ArenaTotals {
  std::size_t stacks = 0;
  std::size_t arenas = 0;
  std::size_t reserved = 0;
  std::size_t committed = 0;
};
[[nodiscard]] ArenaTotals arena_totals();

/// The place of a pinned slot. Signal handlers included.
[[nodiscard]] Place place_of(const handler::PinnedSlot& pinned) noexcept;

}  // namespace growstack
