// The growth policy: how far to grow, as arithmetic that needs neither a signal nor memory.
#include <doctest/doctest.h>

#include <growstack/growth_policy.hpp>

#include "support/units.hpp"

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>

using growstack::grown_limit;
using growstack::GrowthPolicy;
using growstack::kept_limit;
using namespace growstack::testing;

namespace {
constexpr std::size_t page = 4096;
constexpr std::uintptr_t base = 0x7000'0000'0000;
constexpr std::uintptr_t floor_ = base - GiB;

std::size_t committed_after(const GrowthPolicy& policy, std::size_t committed, std::size_t depth) {
  return base - grown_limit(policy, base, floor_, base - committed, base - depth, page);
}

std::size_t kept_at(const GrowthPolicy& policy, std::size_t depth, std::size_t margin = page) {
  return base - kept_limit(policy, base, floor_, base - depth, margin, page);
}
}  // namespace

TEST_CASE(
    "a touch just below the limit makes what is committed "
    "four times as large, or as many times as the factor says") {
  CHECK(committed_after({}, 64 * KiB, 64 * KiB + 1) == 256 * KiB);
  CHECK(committed_after({}, 512 * KiB, 512 * KiB + 1) == 2 * MiB);
  CHECK(committed_after({.factor = 2.0}, 64 * KiB, 64 * KiB + 1) == 128 * KiB);
}

TEST_CASE("no step is larger than the largest nor smaller than the least") {
  const GrowthPolicy policy{
      .least_step = 32 * KiB, .largest_step = 1 * MiB, .headroom = 0, .huge_from = 0};
  CHECK(committed_after(policy, 4 * KiB, 4 * KiB + 1) == 36 * KiB);
  CHECK(committed_after(policy, 64 * MiB, 64 * MiB + 1) == 65 * MiB);
}

TEST_CASE("a factor that no step can have leads to the least or to the largest step") {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  const auto step_by = [](double factor, std::size_t largest_step) {
    return committed_after({.factor = factor,
                            .least_step = 32 * KiB,
                            .largest_step = largest_step,
                            .headroom = 0,
                            .huge_from = 0},
                           64 * KiB, 64 * KiB + 1) -
           64 * KiB;
  };
  for (const double factor : {1.0, 0.5, -1e300, -infinity, std::nan("")}) {
    CAPTURE(factor);
    CHECK(step_by(factor, MiB) == 32 * KiB);
  }
  for (const double factor : {1e15, 1e300, infinity}) {
    CAPTURE(factor);
    CHECK(step_by(factor, MiB) == MiB);
    CHECK(step_by(factor, SIZE_MAX) == GiB - 64 * KiB);
  }
}

TEST_CASE("a jump far below the limit commits everything in between and the headroom") {
  const GrowthPolicy policy{.headroom = 8 * KiB, .huge_from = 0};
  CHECK(committed_after(policy, 64 * KiB, 100 * MiB) == 100 * MiB + 8 * KiB);
}

TEST_CASE("a factor of one grows by the least step") {
  const GrowthPolicy policy{.factor = 1.0, .least_step = 64 * KiB, .headroom = 0, .huge_from = 0};
  CHECK(committed_after(policy, 10 * MiB, 10 * MiB + 1) == 10 * MiB + 64 * KiB);
}

TEST_CASE("a factor between one and two grows by whole pages") {
  const GrowthPolicy policy{.factor = 1.5, .least_step = page, .headroom = 0};
  const std::size_t committed = committed_after(policy, 5 * page, 5 * page + 1);
  CHECK(committed % page == 0);
  CHECK(committed >= 7 * page);
  CHECK(committed <= 8 * page);
}

TEST_CASE("growth ends at the floor, and the last byte above it is usable") {
  CHECK(grown_limit({}, base, floor_, floor_ + page, floor_ + 1, page) == floor_);
  CHECK(grown_limit({}, base, floor_, floor_ + page, floor_, page) == floor_);
  CHECK(grown_limit({}, base, floor_, base - 64 * KiB, floor_, page) == floor_);
}

TEST_CASE("from where huge pages begin only whole huge pages are committed") {
  const GrowthPolicy policy{
      .factor = 2.0, .least_step = page, .headroom = 0, .huge_from = 256 * KiB};
  CHECK(committed_after(policy, 64 * KiB, 64 * KiB + 1) == 128 * KiB);
  CHECK(committed_after(policy, 128 * KiB, 128 * KiB + 1) == 256 * KiB);
  CHECK(committed_after(policy, 256 * KiB, 256 * KiB + 1) == 256 * KiB + 2 * MiB);
  CHECK(committed_after(policy, 64 * KiB, 3 * MiB) == 256 * KiB + 4 * MiB);
  CHECK(committed_after(policy, 64 * KiB, 256 * KiB + 4 * MiB) == 256 * KiB + 4 * MiB);
}

TEST_CASE("for throughput huge pages begin at 128 KiB, and a frugal policy has none") {
  CHECK(committed_after(GrowthPolicy::throughput(), 64 * KiB, 64 * KiB + 1) == 128 * KiB + 2 * MiB);
  const GrowthPolicy frugal = GrowthPolicy::frugal();
  CHECK(frugal.initial_commit <= 16 * KiB);
  CHECK(committed_after(frugal, 3 * MiB, 3 * MiB + 1) == 4 * MiB + 512 * KiB);
}

TEST_CASE(
    "by default no more is committed than 64 KiB and four times the depth, huge pages or not") {
  for (std::size_t depth = 64 * KiB + 1; depth < 900 * MiB; depth += depth / 97 + page) {
    CHECK(committed_after({}, 64 * KiB, depth) <= 64 * KiB + 4 * depth);  // in one jump
  }
  std::size_t committed = 64 * KiB;
  while (committed < 900 * MiB) {  // and page by page
    const std::size_t depth = committed + 1;
    committed = committed_after({}, committed, depth);
    CHECK(committed <= 64 * KiB + 4 * depth);
  }
}

TEST_CASE(
    "whatever the policy, the touched page is committed, "
    "the limit falls, and never below the floor") {
  for (const double factor : {1.0, 1.25, 2.0, 16.0}) {
    for (const std::size_t step : {page, 64 * KiB, 8 * MiB}) {
      for (const std::size_t headroom : {std::size_t{0}, std::size_t{1}, 8 * KiB, 4096 * MiB}) {
        const GrowthPolicy policy{.factor = factor,
                                  .least_step = step,
                                  .largest_step = 2 * step,
                                  .headroom = headroom,
                                  .huge_from = step == page ? 0 : 20 * step % (2 * MiB)};
        for (std::uintptr_t limit = base - page; limit > floor_; limit -= 37 * MiB + 3 * page) {
          for (const std::uintptr_t address :
               {limit - 1, limit - page, (limit + floor_) / 2, floor_ + 1, floor_}) {
            const std::uintptr_t grown = grown_limit(policy, base, floor_, limit, address, page);
            REQUIRE(grown <= address);
            REQUIRE(grown < limit);
            REQUIRE(grown >= floor_);
            REQUIRE(grown % page == 0);
          }
          if (limit - floor_ < 40 * MiB) {
            break;
          }
        }
      }
    }
  }
}

TEST_CASE("a trim of the running stack keeps as much again as is in use, and the initial commit") {
  CHECK(kept_at({}, 4 * KiB) == 72 * KiB);
  // From a depth of 2 MiB on in whole huge pages.
  CHECK(kept_at({}, 1 * MiB) == 2 * MiB + 64 * KiB + 2 * MiB - 64 * KiB);
  CHECK(kept_at({.huge_from = 0}, 1 * MiB) == 2 * MiB + 64 * KiB);
  CHECK(kept_at({.huge_from = 0}, 1 * MiB + 1) == 2 * MiB + 64 * KiB + page);
  CHECK(kept_at(GrowthPolicy::frugal(), 4 * KiB) == 24 * KiB);
}

TEST_CASE("a trim of the running stack keeps the margin, and ends at the floor") {
  CHECK(kept_at({.initial_commit = page, .huge_from = 0}, 4 * KiB, 32 * KiB) == 36 * KiB);
  CHECK(kept_limit({}, base, floor_, floor_ + page, page, page) == floor_);
  CHECK(kept_limit({}, base, floor_, floor_, 16 * page, page) == floor_);
}

TEST_CASE(
    "a trim of the running stack keeps no more than growth to that depth may have made resident") {
  for (std::size_t depth = page; depth < 400 * MiB; depth += depth / 97 + page) {
    CHECK(kept_at({}, depth) <= 64 * KiB + 2 * depth + 2 * MiB);
    CHECK(kept_at({}, depth) >= 2 * depth);
  }
}
