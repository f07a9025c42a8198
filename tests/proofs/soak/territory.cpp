#include "proofs/soak/territory.hpp"

#include "proofs/soak/last_words.hpp"

#include <iterator>

namespace growstack::soak {

void Territory::enter(std::uintptr_t begin, std::uintptr_t end) {
  const std::lock_guard lock(mutex);
  const auto next = taken_.lower_bound(begin);
  const bool above_is_free = next == taken_.end() || next->first >= end;
  const bool below_is_free = next == taken_.begin() || std::prev(next)->second <= begin;
  if (!above_is_free || !below_is_free) {
    wrong("a stack was given out that somebody has already: %#lx to %#lx", begin, end);
  }
  taken_.emplace(begin, end);
}

void Territory::leave(std::uintptr_t begin) {
  const std::lock_guard lock(mutex);
  taken_.erase(begin);
}

}  // namespace growstack::soak
