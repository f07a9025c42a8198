// Choices that the seed decides.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <random>

namespace growstack::soak {

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  std::uint64_t next() { return engine_(); }
  /// Returns a number less than `count`, which is not 0.
  std::size_t below(std::size_t count) { return next() % count; }
  bool one_in(std::size_t count) { return below(count) == 0; }
  std::size_t between(std::size_t least, std::size_t most) {
    return least + below(most - least + 1);
  }
  /// Returns a number of a random number of bits: as often from 4 to 8 as from 4,000 to 8,000.
  std::size_t log_uniform(std::size_t least, std::size_t most) {
    const auto bits = static_cast<int>(between(static_cast<std::size_t>(std::bit_width(least)),
                                               static_cast<std::size_t>(std::bit_width(most))));
    const std::size_t top = std::size_t{1} << (bits - 1);
    const std::size_t number = top + below(top);
    return number < least ? least : number > most ? most : number;
  }
  template <class Container>
  auto& one_of(Container& container) {
    return container[below(container.size())];
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace growstack::soak
