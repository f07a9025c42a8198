// Fibers that stay suspended at some depth until a worker resumes them, whichever that is.
#pragma once

#include <growstack/stack_allocator.hpp>

#include <boost/context/fiber.hpp>

#include "proofs/soak/tenant.hpp"
#include "proofs/soak/territory.hpp"
#include "proofs/soak/worker.hpp"

#include <cstdint>
#include <functional>
#include <optional>

namespace growstack::soak {

/// A fiber that goes down and up in its stack, and suspends itself at each step.
class ParkedFiber {
 public:
  template <class Allocator>
  ParkedFiber(const Allocator& allocator, std::uint64_t seed)
      : random_(seed), fiber_(std::allocator_arg, allocator, [this](boost::context::fiber&& back) {
          return run(std::move(back));
        }) {}
  ParkedFiber(const ParkedFiber&) = delete;
  ParkedFiber& operator=(const ParkedFiber&) = delete;

  /// Lets the fiber take one step in the thread of this worker.
  void resume(Worker& worker);
  /// Verifies all of its rooms while it is suspended.
  void verify() const;
  /// Gives back the memory below the suspended fiber.
  void trim();
  /// Has the fiber come up and end, however often it must be resumed for that.
  void end(Worker& worker);
  [[nodiscard]] bool has_ended() const { return !fiber_; }

 private:
  boost::context::fiber run(boost::context::fiber&& back);
  /// At the bottom of each descent: suspends, and goes deeper or returns.
  void stay();
  void suspend();

  Random random_;
  Worker* worker_ = nullptr;  ///< who resumed it
  bool shall_end_ = false;
  int levels_ = 0;
  std::uintptr_t floor_ = 0;
  std::uintptr_t stack_pointer_ = 0;
  std::optional<Tenant> tenant_;
  std::optional<Place> place_;
  boost::context::fiber back_;
  boost::context::fiber fiber_;
};

}  // namespace growstack::soak
