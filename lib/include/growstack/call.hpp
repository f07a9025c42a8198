// Run any callable on a growable stack.
#pragma once

#include <growstack/export.hpp>
#include <growstack/stack.hpp>

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace growstack {

namespace detail {

/// Switches to the stack, runs body(argument) there, and switches back. Throws std::system_error:
/// EBUSY if a call runs on the stack already, or if the thread cannot be attached.
GROWSTACK_EXPORT void run_on(Stack& stack, void (*body)(void*) noexcept, void* argument);

/// The result of a call: a value, a reference, nothing, or an exception.
template <class Result>
class CallResult {
 public:
  template <class F>
  void capture(F&& f) noexcept {
    try {
      if constexpr (std::is_void_v<Result>) {
        std::forward<F>(f)();
      } else if constexpr (std::is_reference_v<Result>) {
        value_ = std::addressof(
            static_cast<std::remove_reference_t<Result>&>(hold(std::forward<F>(f)())));
      } else {
        value_.emplace(std::forward<F>(f)());
      }
    } catch (...) {
      exception_ = std::current_exception();
    }
  }

  Result take() {
    if (exception_ != nullptr) {
      std::rethrow_exception(std::move(exception_));
    }
    if constexpr (std::is_reference_v<Result>) {
      return static_cast<Result>(*value_);
    } else if constexpr (!std::is_void_v<Result>) {
      return std::move(*value_);
    }
  }

 private:
  /// Makes an lvalue of an rvalue reference, because only an lvalue has an address.
  template <class T>
  static T& hold(T&& reference) noexcept {
    return reference;
  }

  struct Nothing {};
  using Value = std::conditional_t<
      std::is_void_v<Result>, Nothing,
      std::conditional_t<std::is_reference_v<Result>, std::remove_reference_t<Result>*,
                         std::optional<std::remove_cv_t<Result>>>>;
  [[no_unique_address]] Value value_{};
  std::exception_ptr exception_;
};

}  // namespace detail

/// Runs f(args...) on `stack`, in this thread, and returns its result. An exception that leaves f
/// arrives here as the same object. Arguments are passed by reference and forwarded on the stack,
/// so move-only ones work. Calls nest, each on a stack of its own. Attaches the calling thread, and
/// installs the fault handler anew if somebody has put another in its place (handler::install()).
/// With growstack::keep_handler nobody can, so call() does not look and makes no system call.
/// Throws std::system_error: EBUSY if a call runs on this stack already, or what attach_thread()
/// and Stack::Stack() throw.
///
/// Any thread; not from a signal handler. As across every switch of stacks, f must not leave by
/// longjmp, pthread_exit or cancellation, and must not block SIGSEGV or SIGBUS. exit() is fine:
/// what it calls runs on this stack, which stays to the end of the process, whatever destroys its
/// Stack or its pool. If f runs in a fiber, it may yield here, and the fiber may go on in another
/// attached thread. The floating-point environment (fesetround(3)) of f starts as the caller's,
/// and what f sets does not come back.
template <class F, class... Args>
GROWSTACK_LOCAL std::invoke_result_t<F, Args...> call(Stack& stack, F&& f, Args&&... args) {
  using Result = std::invoke_result_t<F, Args...>;
  detail::CallResult<Result> result;
  auto body = [&]() noexcept {
    result.capture(
        [&]() -> Result { return std::invoke(std::forward<F>(f), std::forward<Args>(args)...); });
  };
  detail::run_on(
      stack, [](void* argument) noexcept { (*static_cast<decltype(body)*>(argument))(); },
      std::addressof(body));
  return result.take();
}

/// Runs f(args...) on a stack of these options, as call() on a Stack does, and gives the stack back
/// afterwards; so the result must not refer to it. Throws what that call() throws, and what Stack's
/// constructor throws. Any thread; not from a signal handler.
///
/// The stack is kept for the next call() or Thread of the same set of options: of equal options,
/// whatever the names are. So only the first call makes one. notes/pools.md, "What calls keep", has
/// the reasons and figures.
///
/// - What f finds on the stack is indeterminate.
/// - A set of options that is not used for a whole second gives all its memory and address space
///   back, one to two seconds after its last use, also if the program makes no call any more.
/// - A set that is used at least once a second keeps its stacks, as many as were in use at the same
///   time in the last second, and as deep as they usually go.
/// - trim() gives all idle stacks back at once.
/// - The symbolizer thread looks at the time. If the process has none (handler::set_symbolizer()),
///   later calls do, whatever their options are.
/// - At most 16 sets of options have idle stacks. If a program uses more of them by turns, most
///   calls make a stack: 40 to 130 us instead of 0.7. So do not compute `reserve` for each request;
///   round it up to one of a few sizes.
/// - Idle stacks count for set_process_budget(). They are given back when another stack of this
///   library needs their memory.
/// - Stacks of Strategy::grows_down and Strategy::heap are not kept. With
///   GROWSTACK_INITIAL_COMMIT=page none are.
template <class F, class... Args>
GROWSTACK_LOCAL std::invoke_result_t<F, Args...> call(const StackOptions& options, F&& f,
                                                      Args&&... args) {
  Stack stack = detail::kept_stack(options);
  return call(stack, std::forward<F>(f), std::forward<Args>(args)...);
}

}  // namespace growstack
