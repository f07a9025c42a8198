// A thread that does one activity after the other. Each incarnation is a thread of another kind.
#pragma once

#include "proofs/soak/random.hpp"

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace growstack::soak {

class Tenant;

/// What a thread did, for the last words.
struct Deed {
  const char* what = nullptr;
  std::size_t number = 0;
  std::size_t other = 0;
};

class Worker {
 public:
  Worker(std::uint64_t seed, unsigned number)
      : random(seed * 0x9E37'79B9'7F4A'7C15U + number), index(number) {}

  Random random;
  const unsigned index;
  /// How many activities run in each other.
  int nesting = 0;
  /// Whose rooms a signal handler may look at.
  std::atomic<const Tenant*> tenant{nullptr};

  /// Notes what is done now. That is progress, too.
  void note(const char* what, std::size_t number = 0, std::size_t other = 0) {
    const std::size_t step = progress_.load(std::memory_order_relaxed);
    deeds_[step % deeds_.size()] = {what, number, other};
    progress_.store(step + 1, std::memory_order_relaxed);
  }
  [[nodiscard]] std::size_t progress() const { return progress_.load(std::memory_order_relaxed); }
  /// Writes the last deeds. Other threads may read them while they change.
  void tell() const;

  /// The thread to which signals may be sent, or 0; under `target_lock`.
  std::mutex target_lock;
  pid_t target = 0;

 private:
  std::array<Deed, 24> deeds_{};
  std::atomic<std::size_t> progress_{0};
};

/// Returns the worker that the calling thread is, or null. Signal handlers included. A fiber must
/// ask again whenever it is resumed.
[[nodiscard]] Worker* this_worker();
void set_this_worker(Worker* worker);

}  // namespace growstack::soak
