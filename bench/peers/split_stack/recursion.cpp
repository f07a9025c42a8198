// This file is compiled twice: with -fsplit-stack it defines growstack::split_stack::split, and
// without it defines growstack::split_stack::plain.
#include "recursion.hpp"

namespace growstack::split_stack {
namespace {

constexpr std::size_t room = 192;  // bytes, of an ordinary frame
constexpr std::size_t small_room = 16;
constexpr std::size_t large_room = 512;  // as of a function that formats a line or calls others

// These are not inlined, and do something after their calls, so that each is a call with a frame.

[[gnu::noinline]] int descend(std::size_t frames) {
  volatile char here[room];
  here[0] = 1;
  const int below = frames == 0 ? 0 : descend(frames - 1);
  return below + here[0];
}

/// Returns the distance between the frames of a call and of a call inside it. With split stacks
/// there could be a gap between them.
[[gnu::noinline]] std::size_t distance(std::uintptr_t above, std::size_t frames) {
  volatile char here[room];
  here[0] = 1;
  const auto address = reinterpret_cast<std::uintptr_t>(&here[0]);
  const std::size_t found = frames == 0 ? above - address : distance(address, frames - 1);
  return found * static_cast<std::size_t>(here[0]);
}

std::size_t bytes_per_frame() { return distance(0, 1); }

[[gnu::noinline]] int at_depth(std::size_t frames, void (*body)(void*), void* argument) {
  volatile char here[small_room];
  here[0] = 1;
  if (frames > 0) {
    return at_depth(frames - 1, body, argument) + here[0];
  }
  body(argument);
  return here[0];
}

[[gnu::noinline]] int leaf(std::size_t number) {
  volatile char here[large_room];
  here[0] = static_cast<char>(number);
  return here[0];
}

void call_often(std::size_t times) {
  for (std::size_t number = 0; number < times; ++number) {
    leaf(number);
  }
}

}  // namespace

const Recursion GROWSTACK_RECURSION{.descend = descend,
                                    .bytes_per_frame = bytes_per_frame,
                                    .at_depth = at_depth,
                                    .call_often = call_often};

}  // namespace growstack::split_stack
