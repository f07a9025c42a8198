// What models allocate: in each execution at the same addresses, so that an address names an object
// in all of them. Nothing is used again before the next execution.
#pragma once

#include <cstddef>

namespace growstack::explorer::heap {

/// Which part the following allocations come from: one part for each thread of a model, and one for
/// set_up() and check(). `none` is the ordinary heap.
inline constexpr std::size_t none = static_cast<std::size_t>(-1);
/// Returns what was used before.
std::size_t use(std::size_t part) noexcept;

/// Takes everything back.
void reset() noexcept;

/// Returns whether the address lies in what models allocate.
[[nodiscard]] bool is_ours(const void* address) noexcept;
/// Returns the bytes of a block that a model allocated; 0 of any other.
[[nodiscard]] std::size_t size_of(const void* block) noexcept;

/// While it lives, allocations are ordinary ones.
class Ordinary {
 public:
  Ordinary() noexcept : before_(use(none)) {}
  ~Ordinary() { use(before_); }
  Ordinary(const Ordinary&) = delete;
  Ordinary& operator=(const Ordinary&) = delete;

 private:
  std::size_t before_;
};

}  // namespace growstack::explorer::heap
