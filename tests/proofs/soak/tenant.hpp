// Whoever uses a stack: what it has written there, and whether all of that is still there.
//
// A tenant goes down the stack in frames of any size. In each frame there is a room, all words of
// which name the tenant and their own place. The rooms of a tenant hang together, from the lowest
// to the uppermost, so that all of them can be verified at any time, by a signal handler too.
#pragma once

#include "proofs/soak/random.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>

// A sanitizer puts red zones around what alloca returns, and calls functions where none may be.
#define GROWSTACK_RAW_STACK __attribute__((no_sanitize("address"), no_sanitize("thread")))

namespace growstack::soak {

/// Memory that a tenant has filled.
struct Room {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  const Room* above = nullptr;
};

class Tenant {
 public:
  /// `base`: the end of the tenant's memory; 0 if its frames are on several stacks. `fresh`: nobody
  /// has left anything there.
  explicit Tenant(std::uintptr_t base, bool fresh = false);
  ~Tenant();
  Tenant(const Tenant&) = delete;
  Tenant& operator=(const Tenant&) = delete;

  [[nodiscard]] std::uint32_t number() const { return number_; }

  /// The word that belongs to an address. It tells the tenant and the distance from the base, so
  /// that whoever finds it elsewhere knows where it is from.
  [[nodiscard, gnu::always_inline]] GROWSTACK_RAW_STACK inline std::uint64_t word_at(
      std::uintptr_t address) const {
    return (std::uint64_t{number_} << 32U) | (((base_ - address) / 8) & 0xFFFF'FFFFU);
  }

  /// Says so if a page of [begin, end) carries words of somebody who lives elsewhere, or of anybody
  /// at all if the memory is fresh. Before anything was written there.
  void look(std::uintptr_t begin, std::uintptr_t end) const;
  void fill(std::uintptr_t begin, std::uintptr_t end) const;
  /// Says so if a word of [begin, end) has changed.
  void verify(std::uintptr_t begin, std::uintptr_t end) const;

  /// Adds a room that is filled, below all others.
  void enter(Room& room) {
    room.above = lowest_.load(std::memory_order_relaxed);
    lowest_.store(&room, std::memory_order_release);
  }
  /// Verifies the lowest room and takes it away.
  void leave(const Room& room) {
    verify(room.begin, room.end);
    lowest_.store(room.above, std::memory_order_release);
  }
  void verify_all() const;
  /// Verifies one of the lowest 16 rooms. Signal handlers included.
  void verify_one(std::size_t choice) const;

 private:
  std::uint32_t number_;
  std::uintptr_t base_;
  bool fresh_;
  std::atomic<const Room*> lowest_{nullptr};
};

/// A way down.
struct Descent {
  Tenant& tenant;
  Random& random;
  std::uintptr_t deepest = 0;  ///< no frame begins below it
  std::size_t largest_frame = 0;
  bool looks_first = false;  ///< reads memory before it writes there
  /// Runs at the end, in the lowest frame.
  const std::function<void()>& at_the_bottom;
};

/// Goes down to `descent.deepest`, and comes back.
void descend(Descent& descent);

}  // namespace growstack::soak
