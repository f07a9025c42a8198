// The stack that the calling code runs on, whosever it is: where it lies, and how much is left.
#pragma once

#include <growstack/export.hpp>
#include <growstack/handler/stack_pointer.hpp>
#include <growstack/stack.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace growstack {

namespace detail {

/// The stack on which a thread was seen last. Its thread writes it; other threads only set `size`
/// to 0, when that stack ends. A thread reads its own one, so a stale value would be one that it
/// wrote before it left the stack.
struct LastStack {
  std::atomic<std::uintptr_t> low;
  std::atomic<std::size_t> size;  ///< 0: not known

  /// Returns how many bytes lie below an address of this stack, or 0 for other addresses.
  [[nodiscard, gnu::always_inline]] std::size_t below(std::uintptr_t address) const noexcept {
    const std::size_t bytes = address - low.load(std::memory_order_relaxed);
    return bytes < size.load(std::memory_order_relaxed) ? bytes : 0;
  }
};

/// Read without a function call, which the default model of a shared library would make. Each
/// process has some room for such variables in libraries that it loads later. A library with one
/// such variable puts all its thread_local variables there: for this one some 240 bytes.
GROWSTACK_EXPORT
[[gnu::tls_model("initial-exec")]] extern constinit thread_local LastStack last_stack;

/// Finds the stack that `stack_pointer` lies in, remembers it for this thread, and returns how many
/// bytes are left there; 0 if the stack is unknown. If fewer than `wanted` are left, looks whether
/// the main thread's limit was raised.
GROWSTACK_EXPORT std::size_t look_up_room(std::uintptr_t stack_pointer,
                                          std::size_t wanted) noexcept;

/// Returns whether `bytes` bytes, or more, are left below the stack pointer.
[[nodiscard, gnu::always_inline]] inline bool has_room(std::size_t bytes) noexcept {
  const std::uintptr_t here = handler::stack_pointer();
  return last_stack.below(here) >= bytes || look_up_room(here, bytes) >= bytes;
}

GROWSTACK_EXPORT void tell_stack(std::uintptr_t low, std::size_t size);
GROWSTACK_EXPORT void take_stack_back(std::uintptr_t low) noexcept;

}  // namespace detail

/// Returns how many bytes the running stack still has below the stack pointer. For a growable stack
/// these are the bytes to its floor, whether or not they are committed. Returns 0 if the stack is
/// unknown (StackKind::unknown). Usually this takes two loads, so a recursion may ask at each step.
/// It looks the stack up when the thread has come to another one: that takes some ten nanoseconds,
/// and some microseconds when a thread asks for the first time.
///
/// For the main thread this counts on RLIMIT_STACK as it was when the thread asked first, and on 64
/// GiB at most (`ulimit -s unlimited`).
/// current_stack(), and ensure_stack() before it goes to another stack, look whether the limit has
/// changed. If it was lowered since then, fewer bytes are left. Any thread; not from a signal
/// handler, whose alternate stack is unknown.
[[nodiscard, gnu::always_inline]] inline std::size_t remaining_stack() noexcept {
  const std::uintptr_t here = handler::stack_pointer();
  const std::size_t bytes = detail::last_stack.below(here);
  return bytes != 0 ? bytes : detail::look_up_room(here, 0);
}

/// Says whose stack it is.
enum class StackKind : std::uint8_t {
  unknown,    ///< nobody told: a fiber of some other library, Strategy::heap, an alternate stack
  main,       ///< the kernel made it for the process
  thread,     ///< pthread_create(3) made it, or was given it
  growstack,  ///< a stack of this library, that of a growstack::Thread included
  known,      ///< somebody made a KnownStack of it
};

/// Describes the stack that some code runs on.
struct CurrentStack {
  StackKind kind = StackKind::unknown;  ///< whose stack it is
  /// Where it lies; all null if the stack is unknown. Only stacks of this library have a `limit` of
  /// their own, as stack_bounds() tells it; otherwise it is the floor. `guard` is the floor if no
  /// guard is known.
  StackBounds bounds{};
};

/// Returns which stack the caller runs on. Looks it up each time. Any thread; not from a signal
/// handler: there current_stack_bounds() tells whether a growable stack was interrupted.
[[nodiscard]] GROWSTACK_EXPORT CurrentStack current_stack() noexcept;

/// Tells this library where a stack lies that it did not make, such as that of a fiber on memory
/// from elsewhere. While the object exists, ensure_stack() and remaining_stack() know this stack.
/// Without it, ensure_stack() on such a stack always goes to another one.
///
/// To make and destroy one takes 33 ns. The end makes all threads forget what they remember of this
/// stack, so it takes longer the more threads there are. Keep the object as long as the memory is a
/// stack, not for each fiber that runs there.
///
/// The stack may lie within another one, for instance in an array of a function. Then the bytes of
/// the outer one end where the inner one begins.
class KnownStack {
 public:
  /// Tells the stack of `size` bytes whose lowest usable address is `low`, without its guard. Any
  /// thread; not from a signal handler. Throws std::system_error: EINVAL if it has no bytes, EEXIST
  /// if it overlaps another KnownStack; std::bad_alloc.
  GROWSTACK_LOCAL KnownStack(const void* low, std::size_t size)
      : low_(reinterpret_cast<std::uintptr_t>(low)) {
    detail::tell_stack(low_, size);
  }
  /// Takes it back, in any thread, before the memory is used for something else. Nothing may run on
  /// the stack. Not from a signal handler.
  GROWSTACK_LOCAL ~KnownStack() { reset(); }
  /// Takes over what `other` has told.
  KnownStack(KnownStack&& other) noexcept : low_(std::exchange(other.low_, 0)) {}
  /// Takes back what this object has told, and takes over what `other` has told.
  GROWSTACK_LOCAL KnownStack& operator=(KnownStack&& other) noexcept {
    if (this != &other) {
      reset();
      low_ = std::exchange(other.low_, 0);
    }
    return *this;
  }
  KnownStack(const KnownStack&) = delete;
  KnownStack& operator=(const KnownStack&) = delete;

 private:
  GROWSTACK_LOCAL void reset() noexcept {
    if (low_ != 0) {
      detail::take_stack_back(low_);
    }
  }

  std::uintptr_t low_;  ///< 0: moved-from
};

}  // namespace growstack
