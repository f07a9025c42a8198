// How many stacks of a pool stay warm, as arithmetic: values and a time, without a clock, a pool or
// a stack.
#include <doctest/doctest.h>

#include "pool/demand.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

using growstack::Demand;
using namespace std::chrono_literals;

namespace {

constexpr Demand::Time retention = 10s;

/// A pool that was made at time 0 with one stack, and had a burst: `most` stacks were in use at
/// once.
constexpr Demand after_a_burst(std::size_t most) {
  Demand demand(retention);
  demand.begin(0s, 1);
  demand.rise(most);
  return demand;
}

/// The targets after each of these times, with so many in use.
std::vector<std::size_t> targets(Demand demand, const std::vector<Demand::Time>& times,
                                 std::size_t in_use) {
  std::vector<std::size_t> all;
  for (const Demand::Time now : times) {
    demand.fall(now, in_use);
    all.push_back(demand.target());
  }
  return all;
}

using Targets = std::vector<std::size_t>;

}  // namespace

TEST_CASE("the target rises at once with the number in use, and not with a smaller number") {
  Demand demand(retention);
  demand.begin(0s, 1);
  demand.rise(100);
  CHECK(demand.target() == 100);
  demand.rise(40);
  CHECK(demand.target() == 100);
}

TEST_CASE("after a burst each interval halves the target, down to none") {
  CHECK(targets(after_a_burst(100), {10s, 20s, 30s, 40s, 50s, 60s, 70s, 80s}, 0) ==
        Targets{50, 25, 12, 6, 3, 1, 0, 0});
}

TEST_CASE("within an interval nothing falls") {
  CHECK(targets(after_a_burst(100), {0s, 1s, 9s, retention - 1ns}, 0) ==
        Targets{100, 100, 100, 100});
}

TEST_CASE("an interval begins when the last halving was noticed, not when it was due") {
  CHECK(targets(after_a_burst(100), {19s, 28s, 29s}, 0) == Targets{50, 50, 25});
}

TEST_CASE("a long pause counts as all the intervals that it lasted") {
  CHECK(targets(after_a_burst(100), {30s}, 0) == Targets{12});
  CHECK(targets(after_a_burst(100), {39s}, 0) == Targets{12});
  CHECK(targets(after_a_burst(100), {24h}, 0) == Targets{0});
  CHECK(targets(after_a_burst(SIZE_MAX), {640s}, 0) == Targets{0});
  CHECK(targets(after_a_burst(SIZE_MAX), {630s}, 0) == Targets{1});
}

TEST_CASE("the target never falls below the number in use") {
  CHECK(targets(after_a_burst(100), {10s, 20s, 30s, 24h}, 40) == Targets{50, 40, 40, 40});
}

TEST_CASE("zero retention never gives back, and never asks for another look") {
  Demand demand(0s);
  demand.begin(0s, 1);
  demand.rise(100);
  demand.fall(24h, 0);
  CHECK(demand.target() == 100);
  CHECK(demand.excess(0, 100) == 0);
  CHECK(demand.next_look(false) == Demand::never);
  CHECK(demand.next_look(true) == Demand::never);
}

TEST_CASE("what exceeds the target are warm stacks, and never those in use") {
  Demand demand = after_a_burst(100);
  CHECK(demand.excess(0, 100) == 0);
  CHECK(demand.excess(60, 40) == 0);
  CHECK(demand.excess(60, 50) == 10);
  demand.fall(10s, 60);  // the target is 60 now
  CHECK(demand.excess(60, 40) == 40);
  CHECK(demand.excess(30, 40) == 10);
  CHECK(demand.excess(60, 0) == 0);
  CHECK(demand.excess(0, 60) == 0);
}

TEST_CASE("a trim forgets all demand but the stacks in use") {
  Demand demand = after_a_burst(100);
  demand.forget(7);
  CHECK(demand.target() == 7);
  CHECK(demand.excess(7, 3) == 3);
}

TEST_CASE("the next look is at the end of the interval, or at once if there is more to do") {
  Demand demand = after_a_burst(100);
  CHECK(demand.next_look(false) == 10s);
  CHECK(demand.next_look(true) == 0s);
  demand.fall(14s, 0);
  CHECK(demand.next_look(false) == 24s);
}

TEST_CASE("all of it is arithmetic that the compiler can do") {
  static_assert(after_a_burst(100).target() == 100);
  static_assert(after_a_burst(100).excess(90, 20) == 10);
}

TEST_CASE("in random traces, give back what exceeds the target: warm and used stacks fit it then") {
  std::mt19937 random(1);
  const auto up_to = [&](std::size_t most) {
    return std::uniform_int_distribution<std::size_t>(0, most)(random);
  };
  for (int trace = 0; trace < 200; ++trace) {
    CAPTURE(trace);
    Demand demand(retention);
    Demand::Time now = 0s;
    demand.begin(now, 0);
    std::size_t in_use = 0;
    std::size_t warm = 0;
    for (int step = 0; step < 200; ++step) {
      const std::size_t wanted = up_to(50);
      warm = wanted > in_use ? warm - std::min(warm, wanted - in_use) : warm + (in_use - wanted);
      in_use = wanted;
      demand.rise(in_use);
      now += std::chrono::seconds(up_to(15));
      const std::size_t before = demand.target();
      demand.fall(now, in_use);
      CHECK(demand.target() <= before);
      CHECK(demand.target() >= in_use);
      const std::size_t excess = demand.excess(in_use, warm);
      REQUIRE(excess <= warm);
      warm -= excess;
      CHECK(in_use + warm <= demand.target());
      CHECK(demand.next_look(false) > now);
    }
    demand.fall(now + 24h, 0);
    CHECK(demand.excess(0, in_use + warm) == in_use + warm);
  }
}
