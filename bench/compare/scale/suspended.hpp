// Code that waits on a stack, and runs there what it is told.
#pragma once

#include <boost/context/detail/fcontext.hpp>

#include <cstddef>
#include <functional>

namespace growstack::compare {

/// Takes eight bytes, because there are many.
class Suspended {
 public:
  Suspended() = default;
  /// Enters the stack that reaches so many bytes down from `base`, writes 256 bytes there, and
  /// waits.
  Suspended(void* base, std::size_t bytes);

  /// Runs the errand there, which must not throw, and waits again.
  void run(const std::function<void()>& errand);

  /// Returns where the stack ends while it waits.
  [[nodiscard]] const void* stack_pointer() const noexcept { return context_; }

 private:
  boost::context::detail::fcontext_t context_ = nullptr;
};

}  // namespace growstack::compare
