// Measurements that take turns: if the machine is slower for a while, it is slower for all of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <numeric>
#include <random>
#include <vector>

namespace growstack::bench {

/// Gives each contender one turn, in another order each time. In a fixed order a contender would
/// always run after the same other one, and find the caches and the kernel's lists of free pages as
/// that one left them. If a contender throws, its `refusal` keeps the message, and it gets no more
/// turns.
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
