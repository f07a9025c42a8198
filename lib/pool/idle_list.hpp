// Idle stacks that a thread keeps, the last one in being the first one out.
#pragma once

#include "arenas/open_slot.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace growstack {

/// Its owner is a thread. The count may be read by any.
template <std::size_t most>
class IdleList {
 public:
  [[nodiscard]] std::uint32_t count() const noexcept {
    return count_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] bool empty() const noexcept { return count() == 0; }
  [[nodiscard]] bool full() const noexcept { return count() == most; }

  /// The list must not be empty.
  [[nodiscard]] OpenSlot pop() noexcept {
    const std::uint32_t left = count() - 1;
    count_.store(left, std::memory_order_relaxed);
    return stacks_[left];
  }
  /// The list must not be full.
  void push(OpenSlot slot) noexcept {
    const std::uint32_t used = count();
    stacks_[used] = slot;
    count_.store(used + 1, std::memory_order_relaxed);
  }

  /// Returns the last stack if there is one, and `takes`, which looks at it, returns true.
  /// Otherwise returns null, and nothing has changed. (The usual case reads the count once.)
  template <class Takes>
  [[nodiscard]] OpenSlot pop_if(Takes takes) noexcept {
    const std::uint32_t used = count();
    if (used == 0) {
      return {};
    }
    const OpenSlot last = stacks_[used - 1];
    if (!takes(last)) {
      return {};
    }
    count_.store(used - 1, std::memory_order_relaxed);
    return last;
  }
  /// Returns false, and changes nothing, if the list is full or `allowed` is false.
  [[nodiscard]] bool push_if(bool allowed, OpenSlot slot) noexcept {
    const std::uint32_t used = count();
    if (used == most || !allowed) {
      return false;
    }
    stacks_[used] = slot;
    count_.store(used + 1, std::memory_order_relaxed);
    return true;
  }

  /// Removes those stacks for which `removes`, which looks at the oldest first, returns true.
  template <class Removes>
  void remove_if(Removes removes) noexcept {
    const auto end = stacks_.begin() + count();
    const auto left = std::remove_if(stacks_.begin(), end, removes);
    count_.store(static_cast<std::uint32_t>(left - stacks_.begin()), std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint32_t> count_{0};
  std::array<OpenSlot, most> stacks_{};
};

}  // namespace growstack
