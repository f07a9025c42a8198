// What AddressSanitizer and ThreadSanitizer must be told: when a thread switches stacks, and which
// memory nobody may touch. Without a sanitizer these functions are empty.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__SANITIZE_ADDRESS__)
#define GROWSTACK_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GROWSTACK_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define GROWSTACK_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GROWSTACK_TSAN 1
#endif
#endif

#ifdef GROWSTACK_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef GROWSTACK_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace growstack::sanitizers {

/// Whether forget_stack_contents() does anything.
#ifdef GROWSTACK_ASAN
inline constexpr bool remember_frames = true;
#else
inline constexpr bool remember_frames = false;
#endif

/// Forgets the frames that a stack had. A frame that was left by a switch, and never returned,
/// stays poisoned until its addresses are cleared for their next use.
inline void forget_stack_contents([[maybe_unused]] std::uintptr_t begin,
                                  [[maybe_unused]] std::size_t size) noexcept {
#ifdef GROWSTACK_ASAN
  // Not more, because clearing terabytes would touch their shadow for nothing.
  constexpr std::size_t sensible = std::size_t{1} << 30;
  const std::size_t cleared = size < sensible ? size : sensible;
  __asan_unpoison_memory_region(reinterpret_cast<void*>(begin + (size - cleared)), cleared);
#endif
}

/// Forbids memory: a touch is an error (use-after-poison) until the memory is allowed again. For
/// memory that no block of a memory_resource has. `begin` is a multiple of 8.
inline void forbid([[maybe_unused]] std::uintptr_t begin,
                   [[maybe_unused]] std::size_t size) noexcept {
#ifdef GROWSTACK_ASAN
  __asan_poison_memory_region(reinterpret_cast<void*>(begin), size);
#endif
}
/// Allows memory that was forbidden. `begin` is a multiple of 8.
inline void allow([[maybe_unused]] std::uintptr_t begin,
                  [[maybe_unused]] std::size_t size) noexcept {
#ifdef GROWSTACK_ASAN
  __asan_unpoison_memory_region(reinterpret_cast<void*>(begin), size);
#endif
}

/// Tells the sanitizers about one visit to another stack. Call enter() on the old stack, entered()
/// as the first thing on the new stack, leave() as the last thing there, and left() back on the old
/// one.
///
/// ThreadSanitizer notes the entry and the exit of each function. One that is entered in one fiber
/// and left in another takes a frame from the latter that it never gave to it. So both switches of
/// a visit are made by the same function on the new stack, into which entered() and leave() are
/// inlined.
class StackVisit {
 public:
  StackVisit() noexcept = default;
  ~StackVisit() = default;
  StackVisit(const StackVisit&) = delete;
  StackVisit& operator=(const StackVisit&) = delete;

  void enter([[maybe_unused]] std::uintptr_t floor, [[maybe_unused]] std::size_t size) noexcept {
#ifdef GROWSTACK_ASAN
    __sanitizer_start_switch_fiber(&fake_stack_, reinterpret_cast<void*>(floor), size);
#endif
#ifdef GROWSTACK_TSAN
    old_fiber_ = __tsan_get_current_fiber();
    new_fiber_ = __tsan_create_fiber(0);
#endif
  }

  [[gnu::always_inline]] void entered() noexcept {
#ifdef GROWSTACK_ASAN
    __sanitizer_finish_switch_fiber(nullptr, &old_bottom_, &old_size_);
#endif
#ifdef GROWSTACK_TSAN
    __tsan_switch_to_fiber(new_fiber_, 0);
#endif
  }

  [[gnu::always_inline]] void leave() noexcept {
#ifdef GROWSTACK_ASAN
    // nullptr: this stack will not be resumed.
    __sanitizer_start_switch_fiber(nullptr, old_bottom_, old_size_);
#endif
#ifdef GROWSTACK_TSAN
    __tsan_switch_to_fiber(old_fiber_, 0);
#endif
  }

  void left() noexcept {
#ifdef GROWSTACK_ASAN
    __sanitizer_finish_switch_fiber(fake_stack_, nullptr, nullptr);
#endif
#ifdef GROWSTACK_TSAN
    __tsan_destroy_fiber(new_fiber_);
#endif
  }

 private:
#ifdef GROWSTACK_ASAN
  void* fake_stack_ = nullptr;
  const void* old_bottom_ = nullptr;
  std::size_t old_size_ = 0;
#endif
#ifdef GROWSTACK_TSAN
  void* old_fiber_ = nullptr;
  void* new_fiber_ = nullptr;
#endif
};

}  // namespace growstack::sanitizers
