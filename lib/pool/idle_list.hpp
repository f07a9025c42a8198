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
  [[nodiscard]] OpenSlot last() const noexcept { return stacks_[count() - 1]; }
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
