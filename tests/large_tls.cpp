// A program with much static thread-local storage, which glibc takes out of every thread's stack, the helper's included.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "support/recursion.hpp"

#include <cstddef>

namespace {
thread_local volatile char storage[std::size_t{16} << 20];
}

TEST_CASE("helper and reporter start in a program with 16 MiB of static thread-local storage") {
  storage[0] = 1;
  CHECK(growstack::call({.name = "large"}, growstack::testing::recurse, std::size_t{10'000}) == 10'000);
  CHECK(growstack::handler::counters().by_helper > 0);
}
