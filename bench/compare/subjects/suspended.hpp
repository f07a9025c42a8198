// Code that waits on a stack, and runs there what it is told.
#pragma once

#include <boost/context/detail/fcontext.hpp>

#include <array>
#include <cstddef>
#include <functional>

namespace growstack::compare {

/// Writes 256 bytes of the running stack, as much as a small fiber needs.
[[gnu::noinline]] inline void use_a_little() {
  std::array<char, 256> room;
  room.fill(1);
  asm volatile("" : : "r"(room.data()) : "memory");
}

/// Takes eight bytes, because there are many.
class Suspended {
 public:
  Suspended() = default;
  /// Enters the stack that reaches so many bytes down from `base`, writes 256 bytes there, and
  /// waits.
  Suspended(void* base, std::size_t bytes)
      : context_(jump(boost::context::detail::make_fcontext(base, bytes, wait_for_errands))) {}

  /// Runs the errand there, which must not throw, and waits again.
  void run(const std::function<void()>& errand) {
    context_ = jump(context_, const_cast<std::function<void()>*>(&errand));
  }

  /// Returns where the stack ends while it waits.
  [[nodiscard]] const void* stack_pointer() const noexcept { return context_; }

 private:
  using Context = boost::context::detail::fcontext_t;

  static Context jump(Context to, void* errand = nullptr) {
    return boost::context::detail::jump_fcontext(to, errand).fctx;
  }

  [[noreturn]] static void wait_for_errands(boost::context::detail::transfer_t caller) {
    use_a_little();
    for (;;) {
      caller = boost::context::detail::jump_fcontext(caller.fctx, nullptr);
      (*static_cast<const std::function<void()>*>(caller.data))();
    }
  }

  Context context_ = nullptr;
};

}  // namespace growstack::compare
