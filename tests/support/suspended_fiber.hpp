// A bare fiber of Boost.Context that suspends itself while it still needs a part of its stack.
#pragma once

#include <growstack/stack.hpp>

#include <boost/context/fiber.hpp>
#include <boost/context/preallocated.hpp>

#include "support/address_of.hpp"
#include "support/descend.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace growstack::testing {

/// A fiber on a stack. It writes `live_bytes` bytes into its frame. Then it goes `depth` bytes
/// deeper, comes back, suspends itself, and finds its bytes again when it is resumed, twice.
template <std::size_t live_bytes>
class SuspendedFiber {
 public:
  SuspendedFiber(Stack& stack, std::size_t depth) : depth_(depth) {
    boost::context::stack_context whole;
    whole.sp = stack.base();
    whole.size = stack.reserved();
    fiber_ = boost::context::fiber(
        std::allocator_arg, boost::context::preallocated(whole.sp, whole.size, whole), Borrowed{},
        [this](boost::context::fiber&& main) { return run(std::move(main)); });
  }
  SuspendedFiber(const SuspendedFiber&) = delete;
  SuspendedFiber& operator=(const SuspendedFiber&) = delete;

  /// Lets the fiber run until it suspends itself, or, the third time, until it ends.
  void resume() { fiber_ = std::move(fiber_).resume(); }

  /// Returns an address that is not above the stack pointer of the suspended fiber.
  [[nodiscard]] std::uintptr_t stack_pointer() const { return stack_pointer_; }

  /// Returns how many bytes were not what the fiber had written.
  [[nodiscard]] std::size_t wrong() const { return wrong_; }

 private:
  struct Borrowed {
    void deallocate(boost::context::stack_context&) {}
  };

  boost::context::fiber run(boost::context::fiber&& main) {
    std::array<volatile unsigned char, live_bytes> live;
    for (std::size_t index = 0; index < live.size(); ++index) {
      live[index] = static_cast<unsigned char>(index % 251);
    }
    for (int round = 0; round < 2; ++round) {
      wrong_ += descend(depth_);
      stack_pointer_ = address_of(const_cast<unsigned char*>(live.data())) - below_live_bytes;
      main = std::move(main).resume();
      for (std::size_t index = 0; index < live.size(); ++index) {
        wrong_ += live[index] == index % 251 ? 0 : 1;
      }
    }
    return std::move(main);
  }

  /// To suspend itself the fiber pushes less than this.
  static constexpr std::size_t below_live_bytes = 512;

  std::size_t depth_;
  std::uintptr_t stack_pointer_ = 0;
  std::size_t wrong_ = 0;
  boost::context::fiber fiber_;
};

}  // namespace growstack::testing
