#include "support/descend.hpp"

#include <alloca.h>

#include <array>

// A sanitizer puts red zones around what alloca returns. They would forbid what is done here on
// purpose.
#define GROWSTACK_RAW_STACK __attribute__((noinline, no_sanitize("address"), no_sanitize("thread")))

namespace growstack::testing {
namespace {

/// Is larger than the frame of a function that moves its own stack pointer.
constexpr std::size_t own_frame = 512;

constexpr std::size_t pattern_bytes = 256;

unsigned char pattern_at(std::uintptr_t address) noexcept {
  return static_cast<unsigned char>((address * 0x9E37'79B9'7F4A'7C15U) >> 56U);
}

}  // namespace

GROWSTACK_RAW_STACK void touch_in_one_jump(std::uintptr_t address, unsigned char value) {
  const std::uintptr_t here = GROWSTACK_HERE;
  if (here - address > own_frame) {
    void* const room = alloca(here - address - own_frame);
    asm volatile("" : : "r"(room) : "memory");
  }
  *reinterpret_cast<volatile unsigned char*>(address) = value;
}

GROWSTACK_RAW_STACK std::size_t fill_in_one_jump(std::uintptr_t begin, std::uintptr_t end) {
  const std::uintptr_t here = GROWSTACK_HERE;
  void* const room = alloca(here - begin);
  asm volatile("" : : "r"(room) : "memory");
  for (std::uintptr_t at = begin; at < end; ++at) {
    *reinterpret_cast<volatile unsigned char*>(at) = pattern_at(at);
  }
  std::size_t wrong = 0;
  for (std::uintptr_t at = begin; at < end; ++at) {
    wrong += *reinterpret_cast<volatile unsigned char*>(at) == pattern_at(at) ? 0 : 1;
  }
  return wrong;
}

__attribute__((noinline)) std::size_t descend_to(std::uintptr_t address, std::size_t spare) {
  std::array<volatile unsigned char, pattern_bytes> frame;
  const std::uintptr_t here = GROWSTACK_HERE;
  for (volatile unsigned char& byte : frame) {
    byte = pattern_at(reinterpret_cast<std::uintptr_t>(&byte));
  }
  std::size_t wrong = here > address + spare ? descend_to(address, spare) : 0;
  for (volatile unsigned char& byte : frame) {
    wrong += byte == pattern_at(reinterpret_cast<std::uintptr_t>(&byte)) ? 0 : 1;
  }
  return wrong;
}

}  // namespace growstack::testing
