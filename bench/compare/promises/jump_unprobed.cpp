// Compiled without -fstack-clash-protection: the stack pointer jumps over whatever lies between.
#include "jump.hpp"

namespace growstack::compare::promises {

[[gnu::noinline]] void jump_unprobed(std::size_t bytes, void (*arrived)()) {
  auto* const frame = static_cast<volatile char*>(__builtin_alloca(bytes));
  *frame = 1;
  arrived();
}

}  // namespace growstack::compare::promises
