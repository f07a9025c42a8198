// Compiled with -fstack-clash-protection: a frame larger than a page is touched page by page.
#include "jump.hpp"

namespace growstack::compare::promises {

[[gnu::noinline]] void jump_probed(std::size_t bytes, void (*arrived)()) {
  auto* const frame = static_cast<volatile char*>(__builtin_alloca(bytes));
  *frame = 1;
  arrived();
}

}  // namespace growstack::compare::promises
