// Recursion without an end of the stack: one line in a function that calls itself.
//
//     #include <growstack/ensure_stack.hpp>
//     #include <cstdio>
//
//     long depth(long n) {
//       return n == 0 ? 0 : 1 + growstack::ensure_stack(64 << 10, depth, n - 1);
//     }
//
//     int main() { std::printf("%ld\n", depth(10'000'000)); }
//
// If 64 KiB are left on the running stack, whosever it is, depth() is called there. Otherwise it is
// called on a growable stack of this library.
#pragma once

#include <growstack/call.hpp>
#include <growstack/current_stack.hpp>
#include <growstack/export.hpp>
#include <growstack/options.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

namespace growstack {

namespace detail {

/// Runs body(argument) by call() on a stack of these options that has `bytes` bytes and more; null:
/// the library's own options.
GROWSTACK_EXPORT void run_elsewhere(const StackOptions* options, std::size_t bytes,
                                    void (*body)(void*) noexcept, void* argument);

template <class F, class... Args>
[[gnu::noinline, gnu::cold]] GROWSTACK_LOCAL std::invoke_result_t<F, Args...> invoke_elsewhere(
    const StackOptions* options, std::size_t bytes, F&& f, Args&&... args) {
  using Result = std::invoke_result_t<F, Args...>;
  CallResult<Result> result;
  auto body = [&]() noexcept {
    result.capture(
        [&]() -> Result { return std::invoke(std::forward<F>(f), std::forward<Args>(args)...); });
  };
  run_elsewhere(
      options, bytes, [](void* argument) noexcept { (*static_cast<decltype(body)*>(argument))(); },
      std::addressof(body));
  return result.take();
}

}  // namespace detail

/// Calls f(args...) here if at least `bytes` bytes are left on the running stack (as
/// remaining_stack() tells), otherwise on a growable stack of this library, as call() does. Returns
/// the result of f. So a function that calls itself through this one never reaches the end of a
/// stack. The first switch goes to a stack of 1 GiB (Strategy::in_handler), which grows as it is
/// used; if less than `bytes` are left there, the next call switches again. A single recursion is
/// bounded by memory alone. Many at once are bounded by address space, 1 GiB each, and by
/// vm.max_map_count: each fiber that is suspended in f on such a stack takes two mappings, so there
/// may be about 32,700 of them.
///
/// If there is too little address space for 1 GiB, the stacks have 256 MiB, or at last 64 MiB,
/// until the process ends. Stacks are kept as those of call() with options are.
///
/// `bytes` must be enough for all that runs until the next ensure_stack(): the rest of the caller's
/// own frame, f, what f calls, and on stacks that are not growable also signal handlers without
/// SA_ONSTACK. 64 KiB are usual; take 256 KiB for what calls printf or regular expressions.
///
/// If there is room, this is two loads and two comparisons more than the call itself, and f is
/// called directly. If the stack is unknown, for instance that of a fiber that nobody told
/// (KnownStack), this always switches, which takes 500 ns and more, or 50 to 90 with
/// growstack::keep_handler. Code of -fsplit-stack runs on such stacks.
///
/// Any thread; not from a signal handler. What call() says of f is true here, because f may run on
/// another stack. Throws what f throws, and what call() throws if a stack is needed.
template <class F, class... Args>
[[gnu::always_inline]] GROWSTACK_LOCAL inline std::invoke_result_t<F, Args...> ensure_stack(
    std::size_t bytes, F&& f, Args&&... args) {
  if (detail::has_room(bytes)) [[likely]] {
    return std::invoke(std::forward<F>(f), std::forward<Args>(args)...);
  }
  return detail::invoke_elsewhere(nullptr, bytes, std::forward<F>(f), std::forward<Args>(args)...);
}

/// The same, but switches to stacks of these options. A reserve that has no room for `bytes` and 16
/// KiB more is enlarged.
template <class F, class... Args>
[[gnu::always_inline]] GROWSTACK_LOCAL inline std::invoke_result_t<F, Args...> ensure_stack(
    const StackOptions& options, std::size_t bytes, F&& f, Args&&... args) {
  if (detail::has_room(bytes)) [[likely]] {
    return std::invoke(std::forward<F>(f), std::forward<Args>(args)...);
  }
  return detail::invoke_elsewhere(&options, bytes, std::forward<F>(f), std::forward<Args>(args)...);
}

}  // namespace growstack
