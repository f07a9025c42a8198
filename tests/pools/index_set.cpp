// Which slots are free, and which stacks are idle: a set of small numbers that answers like
// std::set, and much faster. std::set is its model here.
#include <doctest/doctest.h>

#include "memory/index_set.hpp"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <random>
#include <set>

using growstack::IndexSet;

namespace {

/// Among them are the capacities at which one level of words becomes two, and two become three.
constexpr std::uint32_t capacities[] = {1, 2, 63, 64, 65, 4096, 4097, 300'000};

/// Finds the first member of a row as the set should, by looking at each number down from `last`.
std::uint32_t first_in_row(const std::set<std::uint32_t>& set, std::uint32_t last,
                           std::uint32_t most) {
  std::uint32_t first = last;
  while (first > 0 && last - first + 1 < most && set.contains(first - 1)) {
    --first;
  }
  return first;
}

}  // namespace

TEST_CASE(
    "a set of small numbers begins empty, and has room for the lowest and the highest number") {
  for (const std::uint32_t capacity : capacities) {
    CAPTURE(capacity);
    IndexSet set(capacity);
    CHECK(set.empty());
    CHECK(set.size() == 0);
    CHECK(!set.contains(capacity - 1));
    set.insert(capacity - 1);
    CHECK(set.contains(capacity - 1));
    CHECK(set.least() == capacity - 1);
    CHECK(set.greatest() == capacity - 1);
    if (capacity > 1) {
      set.insert(0);
      CHECK(set.size() == 2);
      CHECK(set.least() == 0);
      CHECK(set.greatest() == capacity - 1);
      set.erase(0);
    }
    set.erase(capacity - 1);
    CHECK(set.empty());
  }
}

TEST_CASE(
    "a set that is filled and emptied from either end knows its least and greatest member at every "
    "step") {
  for (const std::uint32_t capacity : capacities) {
    CAPTURE(capacity);
    IndexSet set(capacity);
    std::uint32_t wrong = 0;
    for (std::uint32_t index = 0; index < capacity; ++index) {
      set.insert(index);
      wrong += set.least() == 0 && set.greatest() == index ? 0 : 1;
    }
    CHECK(set.size() == capacity);
    std::uint32_t least = 0;
    for (std::uint32_t greatest = capacity; greatest > least;) {
      wrong += set.least() == least && set.greatest() == greatest - 1 ? 0 : 1;
      set.erase(--greatest);
      if (greatest > least) {
        set.erase(least++);
      }
    }
    CHECK(wrong == 0);
    CHECK(set.empty());
  }
}

TEST_CASE("a set answers as std::set does, whatever is put in and taken out") {
  for (const std::uint32_t capacity : capacities) {
    CAPTURE(capacity);
    IndexSet set(capacity);
    std::set<std::uint32_t> model;
    std::mt19937 random(capacity);
    std::uint32_t wrong = 0;
    for (int step = 0; step < 20'000; ++step) {
      // Half of the time the numbers are near each other, so that members are in one word, and
      // words in one word of the level above.
      const std::uint32_t span = step % 2 == 0 ? capacity : std::min<std::uint32_t>(capacity, 130);
      const std::uint32_t index = static_cast<std::uint32_t>(random() % span);
      if (model.insert(index).second) {
        set.insert(index);
      } else if (random() % 8 < (step / 2000 % 2 == 0 ? 3U : 7U)) {  // grows and shrinks in turns
        model.erase(index);
        set.erase(index);
      }
      wrong += set.size() == model.size() && set.empty() == model.empty() ? 0 : 1;
      wrong += set.contains(index) == model.contains(index) ? 0 : 1;
      if (!model.empty()) {
        wrong += set.least() == *model.begin() && set.greatest() == *std::prev(model.end()) ? 0 : 1;
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("members in a row are found from the last one down, and not more than asked for") {
  for (const std::uint32_t capacity : capacities) {
    CAPTURE(capacity);
    IndexSet set(capacity);
    std::set<std::uint32_t> model;
    std::mt19937 random(capacity);
    for (std::uint32_t index = 0; index < std::min<std::uint32_t>(capacity, 5000); ++index) {
      if (random() % 32 != 0) {  // makes rows of some thirty
        set.insert(index);
        model.insert(index);
      }
    }
    std::uint32_t wrong = 0;
    for (const std::uint32_t last : model) {
      for (const std::uint32_t most : {1U, 2U, 64U, UINT32_MAX}) {
        wrong += set.first_in_row(last, most) == first_in_row(model, last, most) ? 0 : 1;
      }
    }
    CHECK(wrong == 0);
  }
}
