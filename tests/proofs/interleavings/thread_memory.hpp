// Thread-local variables for the threads of a model, which all run in one real thread.
#pragma once

#include <cstddef>
#include <memory>
#include <thread>
#include <vector>

namespace growstack::interleavings {

/// Belongs to a real thread that sleeps for ever, and is lent to whoever is to have it.
class ThreadMemory {
 public:
  ThreadMemory();
  /// Gives the variables of this program their first values.
  void reset() const noexcept;
  /// Lets the calling code have it; returns whose it had.
  std::uintptr_t use() const noexcept;
  static void use_again(std::uintptr_t base) noexcept;

 private:
  std::uintptr_t base_ = 0;         ///< what the processor finds thread-local variables by
  std::byte* variables_ = nullptr;  ///< those of this program
};

}  // namespace growstack::interleavings
