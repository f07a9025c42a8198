// A program with much static thread-local storage. glibc takes it out of every thread's stack, also
// the helper's.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "support/descend.hpp"
#include "support/recursion.hpp"
#include "support/units.hpp"

#include <pthread.h>

#include <cerrno>
#include <cstddef>

using namespace growstack::testing;

namespace {
thread_local volatile char storage[16 * MiB];
}

TEST_CASE("helper and symbolizer start in a program with 16 MiB of static thread-local storage") {
  storage[0] = 1;
  CHECK(growstack::call({.name = "large"}, recurse, std::size_t{10'000}) == 10'000);
  CHECK(growstack::handler::counters().by_helper > 0);
}

TEST_CASE(
    "a thread on a growable stack has that storage at its base, committed from the start, and its "
    "stack grows below it") {
  std::size_t wrong = 1;
  growstack::Thread({.reserve = 64 * MiB, .name = "with storage"}, [&] {
    storage[sizeof storage - 1] = 1;
    wrong = descend(16 * MiB);
  }).join();
  CHECK(wrong == 0);
  CHECK(growstack::least_thread_stack() > sizeof storage);
}

TEST_CASE("a stack that has no room for that storage is refused") {
  const growstack::Stack stack({.reserve = 8 * MiB});
  pthread_t thread{};
  CHECK(growstack::create_thread(
            &thread, stack, nullptr, [](void*) -> void* { return nullptr; }, nullptr) == EINVAL);
}
