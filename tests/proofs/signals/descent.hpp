// A descent whose frames have every size that is a multiple of 16 bytes, so that in many descents
// the stack pointer comes to every position relative to the limit.
#pragma once

#include "support/address_of.hpp"
#include "support/descend.hpp"
#include "support/units.hpp"

#include <alloca.h>

#include <cstddef>
#include <cstdint>
#include <random>

namespace growstack::testing {

/// Goes down to `lowest` in frames of some hundred bytes, which it fills, and verifies on the way
/// back. Returns the number of words that had changed: 0.
[[gnu::noinline]] inline std::size_t descend_in_steps(std::uintptr_t lowest,
                                                      std::minstd_rand& chance) {
  const std::size_t words = 2 + 2 * (chance() % 32);
  auto* const frame = static_cast<volatile std::uint64_t*>(alloca(words * sizeof(std::uint64_t)));
  const std::uint64_t key = chance();
  for (std::size_t at = 0; at < words; ++at) {
    frame[at] = key + at;
  }
  std::size_t wrong =
      address_of(const_cast<std::uint64_t*>(frame)) > lowest ? descend_in_steps(lowest, chance) : 0;
  for (std::size_t at = 0; at < words; ++at) {
    wrong += frame[at] == key + at ? 0 : 1;
  }
  return wrong;
}

/// Mostly stays within some ten pages. Sometimes it goes deeper than half a MiB, and now and then
/// deeper than 2 MiB, where some strategies change.
inline std::size_t depth_by_chance(std::minstd_rand& chance) {
  const auto drawn = chance() % 256;
  return drawn == 0 ? 5 * MiB / 2 : drawn < 8 ? 640 * KiB : (8 + chance() % 40) * KiB;
}

}  // namespace growstack::testing
