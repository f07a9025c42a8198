// Code that waits on a stack, and does there what it is told.
#pragma once

#include <boost/context/detail/fcontext.hpp>

#include <cstddef>
#include <functional>

namespace growstack::compare {

/// Eight bytes: there are many.
class Suspended {
 public:
  Suspended() = default;
  /// Enters the stack that reaches so many bytes down from `base`, writes 256 bytes there, and
  /// waits.
  Suspended(void* base, std::size_t bytes);

  /// Runs it there, and waits again. It must not throw.
  void run(const std::function<void()>& errand);

  /// Where the stack ends while it waits.
  [[nodiscard]] const void* stack_pointer() const noexcept { return context_; }

 private:
  boost::context::detail::fcontext_t context_ = nullptr;
};

}  // namespace growstack::compare
