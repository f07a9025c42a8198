// Run any callable on a growable stack.
#pragma once

#include <growstack/stack.hpp>

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#pragma GCC visibility push(default)  // exported from a shared library

namespace growstack {

namespace detail {

/// Switches to the stack, runs body(argument) there, switches back. Throws std::system_error: EBUSY
/// if something runs there already.
void run_on(Stack& stack, void (*body)(void*) noexcept, void* argument);

/// What came out of a call: a value, a reference, nothing, or an exception.
template <class Result>
class Outcome {
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
  /// An rvalue reference has no address; its referent does.
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

/// Runs f(args...) on `stack`, in this thread, and returns its result; an exception that leaves f
/// arrives here as the same object. Attaches the thread. Calls nest, each on a stack of its own.
/// Arguments are passed by reference and only forwarded there, so move-only ones work. Throws
/// std::system_error: EBUSY if a call runs on this stack already, or if the thread cannot be
/// attached.
///
/// Any thread; not from a signal handler. What f must not do, as across every switch of stacks:
/// leave by longjmp, pthread_exit or cancellation, or block SIGSEGV. exit() is fine. The
/// floating-point environment (fesetround) is f's own: it starts with the caller's, and what f sets
/// does not come back.
template <class F, class... Args>
[[gnu::visibility("hidden")]] std::invoke_result_t<F, Args...> call(Stack& stack, F&& f,
                                                                    Args&&... args) {
  using Result = std::invoke_result_t<F, Args...>;
  detail::Outcome<Result> outcome;
  auto body = [&]() noexcept {
    outcome.capture(
        [&]() -> Result { return std::invoke(std::forward<F>(f), std::forward<Args>(args)...); });
  };
  detail::run_on(
      stack, [](void* argument) noexcept { (*static_cast<decltype(body)*>(argument))(); },
      std::addressof(body));
  return outcome.take();
}

/// The same on a fresh stack, which is released afterwards: a result must not refer to it. Throws
/// what Stack's constructor throws as well.
template <class F, class... Args>
[[gnu::visibility("hidden")]] std::invoke_result_t<F, Args...> call(const StackOptions& options,
                                                                    F&& f, Args&&... args) {
  Stack stack(options);
  return call(stack, std::forward<F>(f), std::forward<Args>(args)...);
}

}  // namespace growstack

#pragma GCC visibility pop
