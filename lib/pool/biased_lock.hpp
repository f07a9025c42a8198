// A lock for data that one thread, the owner, uses all the time and other threads use very rarely.
// The owner pays two plain stores and a load. Another thread pays a system call (membarrier(2),
// Linux 4.14), which makes every processor on which this process runs pass a memory barrier. If
// that call is not available, or no longer, the owner pays for a barrier each time.
#pragma once

#include <atomic>
#include <cstdint>

namespace growstack {

class BiasedLock {
 public:
  /// Enters if that is cheap. For the owner. Returns false while another thread has the lock or
  /// wants it, and always if the owner has to pay for the barrier. Never waits.
  [[nodiscard]] bool try_enter_at_once() noexcept {
    busy_.store(1, std::memory_order_relaxed);
    // The load must not overtake the store. This fence is for the compiler only; the barrier for
    // the processor is the other thread's.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (state_.load(std::memory_order_acquire) == biased) [[likely]] {
      return true;
    }
    leave();
    return false;
  }
  /// Enters, and pays for a barrier if necessary. For the owner. Returns false while another thread
  /// has the lock or wants it. Never waits.
  [[nodiscard]] bool try_enter() noexcept { return try_enter_at_once() || try_enter_with_care(); }
  void leave() noexcept { busy_.store(0, std::memory_order_release); }

  /// Waits until the owner has left, and keeps it from entering. For any other thread, one at a
  /// time.
  void seize() noexcept;
  /// Ends what seize() began.
  void release() noexcept { state_.store(when_free(), std::memory_order_release); }

  /// Lets a lock be free in a forked child: its owner may have been inside, and does not exist
  /// there.
  void reset() noexcept { busy_.store(0, std::memory_order_relaxed); }

 private:
  enum State : std::uint32_t {
    biased,  ///< free; the thread that seizes it makes the barrier
    fair,    ///< free; the owner makes the barrier
    seized,  ///< another thread has it, or waits for the owner to leave
  };

  [[nodiscard]] bool try_enter_with_care() noexcept;

  [[nodiscard]] static State when_free() noexcept {
    return others_make_barrier.load(std::memory_order_relaxed) ? biased : fair;
  }

  /// True as long as membarrier(2) works. Each lock says in its state which rule holds for it, so a
  /// stale value does no harm.
  static std::atomic<bool> others_make_barrier;

  /// 1 while the owner is inside or tries to enter. Only the owner writes it; seize() reads it.
  alignas(8) std::atomic<std::uint32_t> busy_{0};
  /// Only the thread that seizes the lock writes it. The owner may read a stale `biased` until the
  /// barrier of seize() has run, and seize() waits for `busy_` only after that.
  alignas(8) std::atomic<State> state_{when_free()};
};

}  // namespace growstack
