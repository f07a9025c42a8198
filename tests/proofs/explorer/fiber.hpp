// A fiber that is left where it is when nobody resumes it any more. Its stack is used again without
// being unwound: what runs there may be noexcept, and what it allocated is taken back otherwise.
#pragma once

#include <boost/context/detail/fcontext.hpp>

#include <cstddef>
#include <functional>
#include <memory>

namespace growstack::explorer {

class Fiber {
 public:
  /// Makes the fiber begin anew with the function, at the next resume().
  void restart(const std::function<void()>& body);
  /// Runs the fiber until it calls leave() or its function returns.
  void resume();
  /// Goes back to who resumed. In the fiber.
  void leave();

 private:
  [[noreturn]] static void run(boost::context::detail::transfer_t from);

  struct Unmap {
    void operator()(std::byte* stack) const noexcept;
  };
  /// All begin at multiples of it. So code that chooses by the address of its stack chooses the
  /// same in all threads.
  static constexpr std::size_t alignment = std::size_t{4} << 20;
  static constexpr std::size_t stack_bytes = std::size_t{128} * 1024;

  [[nodiscard]] static std::byte* map();

  std::unique_ptr<std::byte, Unmap> stack_{map()};
  const std::function<void()>* body_ = nullptr;
  boost::context::detail::fcontext_t here_ = nullptr;  ///< while it does not run
  boost::context::detail::fcontext_t back_ = nullptr;  ///< while it runs
};

}  // namespace growstack::explorer
