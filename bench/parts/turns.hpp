// Measurements that take turns, so that a machine which is slower for a while is so for all of
// them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <numeric>
#include <random>
#include <vector>

namespace growstack::bench {

/// Everybody's turn, in another order each round: with a fixed rotation somebody would always run
/// after the same neighbour, and find the caches and the kernel's lists of free pages as that one
/// leaves them. A contender that throws keeps what it said in its `refusal`, and takes no part any
/// more.
template <class Contender, class Measure>
void take_turns(std::vector<Contender>& contenders, std::mt19937& order, const Measure& measure) {
  std::vector<std::size_t> turns(contenders.size());
  std::iota(turns.begin(), turns.end(), std::size_t{0});
  std::shuffle(turns.begin(), turns.end(), order);
  for (const std::size_t turn : turns) {
    Contender& contender = contenders[turn];
    if (contender.refusal.empty()) {
      try {
        measure(contender);
      } catch (const std::exception& error) {
        contender.refusal = error.what();
      }
    }
  }
}

}  // namespace growstack::bench
