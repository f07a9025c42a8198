// A lock for what one thread uses all the time and others very rarely. The owner pays two plain
// stores and a load; another thread pays a system call (membarrier(2), Linux 4.14) that makes every
// processor on which this process runs pass a memory barrier. Where there is no such call, the
// owner pays for a barrier each time.
#pragma once

#include <atomic>
#include <cstdint>

namespace growstack {

class BiasedLock {
 public:
  /// For the owner: false while somebody else has it, or wants it, or where the owner has to pay.
  /// Never waits.
  [[nodiscard]] bool try_enter_at_once() noexcept {
    busy_.store(1, std::memory_order_relaxed);
    // The load must not overtake the store. For the compiler this is enough, and for the processor
    // the other side takes care.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (state_.load(std::memory_order_acquire) == biased) [[likely]] {
      return true;
    }
    leave();
    return false;
  }
  /// Also where the owner has to pay.
  [[nodiscard]] bool try_enter() noexcept { return try_enter_at_once() || try_enter_with_care(); }
  void leave() noexcept { busy_.store(0, std::memory_order_release); }

  /// For anybody else, one at a time: waits until the owner has left, and keeps it from entering.
  void seize() noexcept;
  void release() noexcept {
    state_.store(others_make_barrier ? biased : fair, std::memory_order_release);
  }

  /// In a forked child: the owner may have been inside, and is no more.
  void reset() noexcept { busy_.store(0, std::memory_order_relaxed); }

 private:
  enum State : std::uint32_t {
    biased,  ///< who seizes it sees to the barrier
    fair,    ///< the owner does
    seized,
  };

  [[nodiscard]] bool try_enter_with_care() noexcept;

  static const bool others_make_barrier;

  alignas(8) std::atomic<std::uint32_t> busy_{0};
  alignas(8) std::atomic<State> state_{others_make_barrier ? biased : fair};
};

}  // namespace growstack
