// Threads whose stack is made to order.
#pragma once

#include "parts/errors.hpp"

#include <pthread.h>

#include <cstddef>
#include <cstdint>

namespace growstack::compare {

/// Attributes for threads. Throws std::system_error.
class ThreadAttributes {
 public:
  ThreadAttributes() { bench::require_no_error(pthread_attr_init(&its_), "pthread_attr_init"); }
  /// glibc puts the guard on top of the size, as pthread_getattr_np tells it, too.
  ThreadAttributes(std::size_t reserve, std::size_t guard) : ThreadAttributes() {
    bench::require_no_error(pthread_attr_setstacksize(&its_, reserve), "pthread_attr_setstacksize");
    bench::require_no_error(pthread_attr_setguardsize(&its_, guard), "pthread_attr_setguardsize");
  }
  ~ThreadAttributes() { pthread_attr_destroy(&its_); }
  ThreadAttributes(const ThreadAttributes&) = delete;
  ThreadAttributes& operator=(const ThreadAttributes&) = delete;

  [[nodiscard]] pthread_attr_t* get() noexcept { return &its_; }

 private:
  pthread_attr_t its_{};
};

struct ThreadBounds {
  std::uintptr_t floor = 0;
  std::uintptr_t base = 0;
};

/// Returns the bounds of the stack that glibc made for the calling thread.
inline ThreadBounds bounds_of_this_thread() {
  pthread_attr_t found;
  bench::require_no_error(pthread_getattr_np(pthread_self(), &found), "pthread_getattr_np");
  void* lowest = nullptr;
  std::size_t bytes = 0;
  const int error = pthread_attr_getstack(&found, &lowest, &bytes);
  pthread_attr_destroy(&found);
  bench::require_no_error(error, "pthread_attr_getstack");
  const auto floor = reinterpret_cast<std::uintptr_t>(lowest);
  return {.floor = floor, .base = floor + bytes};
}

}  // namespace growstack::compare
