// Compiled with -fstack-clash-protection: the compiler touches a large frame page by page.
#include "jump.hpp"

namespace growstack::compare::promises {

[[gnu::noinline]] std::uintptr_t jump_probed(std::size_t bytes) {
  auto* const frame = static_cast<volatile char*>(__builtin_alloca(bytes));
  *frame = 1;
  return reinterpret_cast<std::uintptr_t>(frame);
}

}  // namespace growstack::compare::promises
