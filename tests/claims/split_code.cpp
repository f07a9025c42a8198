// Compiled twice: as growstack::testing::split with -fsplit-stack, and as ::plain without.
#include "split_code.hpp"

namespace growstack::testing {
namespace {

// They are not inlined, and do something after the calls, so that each is a call with a frame.

[[gnu::noinline]] int at_depth(std::size_t frames, void (*body)(void*), void* argument) {
  volatile char here[16];
  here[0] = 1;
  if (frames > 0) {
    return at_depth(frames - 1, body, argument) + here[0];
  }
  body(argument);
  return here[0];
}

[[gnu::noinline]] std::uintptr_t leaf() {
  volatile char here[512];
  asm volatile("" : : "r"(here) : "memory");  // the compiler must think that all of it is used
  return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
}

void call_leaf(std::size_t times) {
  for (std::size_t number = 0; number < times; ++number) {
    leaf();
  }
}

}  // namespace

const SplitCode GROWSTACK_SPLIT_CODE{.at_depth = at_depth, .leaf = leaf, .call_leaf = call_leaf};

}  // namespace growstack::testing
