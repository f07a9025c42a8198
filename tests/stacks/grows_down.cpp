// grows_down: what stacks can and cannot do that the kernel grows by itself (MAP_GROWSDOWN).
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include "support/descend.hpp"
#include "support/limits.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>
#include <system_error>

using namespace growstack::testing;
using growstack::call;
using growstack::Stack;
using growstack::Strategy;
using growstack::handler::page_size;

TEST_CASE("a stack larger than RLIMIT_STACK is refused, with the limit and the cure") {
  const SoftLimit limit(RLIMIT_STACK, 4 * MiB);
  REQUIRE(limit.is_set());
  try {
    const Stack stack({.reserve = 4 * MiB + 1, .strategy = Strategy::grows_down});
    FAIL("it was not refused");
  } catch (const std::system_error& error) {
    CHECK(error.code() == std::errc::not_enough_memory);
    const std::string message = error.what();
    CHECK(message.find("RLIMIT_STACK, now 4 MiB") != std::string::npos);
    CHECK(message.find("ulimit -s") != std::string::npos);
  }
  CHECK(Stack({.reserve = 4 * MiB, .strategy = Strategy::grows_down}).reserved() == 4 * MiB);
}

TEST_CASE("with RLIMIT_STACK as large as the stack, the stack grows to its last byte") {
  const SoftLimit limit(RLIMIT_STACK, 4 * MiB);
  REQUIRE(limit.is_set());
  Stack stack({.reserve = 4 * MiB, .strategy = Strategy::grows_down});
  call(stack, [&] { touch_in_one_jump(reinterpret_cast<std::uintptr_t>(stack.floor())); });
  CHECK(stack.committed() == 4 * MiB);
}

GROWSTACK_SCENARIO("a large stack under a raised limit") {
  const SoftLimit limit(RLIMIT_STACK, RLIM_INFINITY);
  if (!limit.is_set()) {
    return 2;
  }
  Stack stack({.reserve = 512 * MiB, .strategy = Strategy::grows_down});
  call(stack, [] { touch_in_one_jump(GROWSTACK_HERE - 100 * MiB); });
  return stack.committed() >= 100 * MiB && stack.counters().growth_faults == 0 ? 0 : 3;
}

TEST_CASE(
    "a process that raises RLIMIT_STACK gets larger stacks at once, "
    "because the kernel reads the limit at the fault") {
#ifdef GROWSTACK_TESTED_UNDER_TSAN
  return skip("memory that ThreadSanitizer maps for itself lands in a hole as large as this one");
#endif
  if (limits_of(RLIMIT_STACK).rlim_max != RLIM_INFINITY) {
    return skip("the hard RLIMIT_STACK forbids to raise it");
  }
  CHECK(run_scenario("a large stack under a raised limit").exit_code == 0);
}

GROWSTACK_SCENARIO("a limit lowered later") {
  Stack stack({.reserve = 6 * MiB, .strategy = Strategy::grows_down, .name = "lowered"});
  call(stack, [] { descend(2 * MiB); });
  std::fprintf(stderr, "deep\n");
  const SoftLimit limit(RLIMIT_STACK, 3 * MiB);
  call(stack, [] { descend(5 * MiB); });
  return 0;
}

TEST_CASE("a limit that is lowered later ends the growth of stacks that exist, by SIGSEGV") {
#ifdef GROWSTACK_TESTED_UNDER_TSAN
  return skip(
      "the fault may strike inside of ThreadSanitizer's runtime, "
      "while that holds a lock which the report needs");
#endif
  const Ended ended = run_scenario("a limit lowered later");
  CHECK(ended.err.find("deep") != std::string::npos);
  CHECK(ended.signal == SIGSEGV);
}

TEST_CASE("the address space into which the stack grows is a hole where nothing is mapped") {
  Stack stack({.reserve = 6 * MiB, .strategy = Strategy::grows_down});
  CHECK(mapped_bytes(stack.floor(), stack.limit()) == 0);
  call(stack, [] { descend(2 * MiB); });
  CHECK(mapped_bytes(stack.floor(), stack.limit()) == 0);
  REQUIRE(!stack.trim());
  CHECK(mapped_bytes(stack.floor(), stack.limit()) == 0);
  CHECK(mapped_bytes(stack.limit(), stack.base()) == stack.committed());
}

TEST_CASE("a mapping that others put into the hole outlives the stack, with its contents") {
  auto stack = std::make_unique<Stack>(
      growstack::StackOptions{.reserve = 6 * MiB, .strategy = Strategy::grows_down});
  call(*stack, [] { descend(MiB); });
  auto* const place = static_cast<unsigned char*>(stack->floor()) + MiB;
  auto* const stranger =
      static_cast<unsigned char*>(mmap(place, page_size(), PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
  REQUIRE(stranger == place);
  stranger[0] = 42;

  CHECK(!stack->trim());
  CHECK(stranger[0] == 42);
  CHECK(call(*stack, [] { return descend(MiB); }) == 0);
  const void* const base = stack->base();
  const void* const floor = stack->floor();
  stack.reset();
  CHECK(stranger[0] == 42);
  CHECK(mapped_bytes(floor, base) == page_size());
  munmap(stranger, page_size());
}

GROWSTACK_SCENARIO("a stranger in the hole") {
  Stack stack({.reserve = 6 * MiB, .strategy = Strategy::grows_down, .name = "blocked"});
  auto* const place = static_cast<unsigned char*>(stack.floor()) + 2 * MiB;
  void* const stranger = mmap(place, page_size(), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (stranger != place) {
    return 2;
  }
  std::fprintf(stderr, "blocked\n");
  call(stack, [] { descend(5 * MiB); });
  return 0;
}

TEST_CASE("a mapping that others put into the hole ends the growth, by SIGSEGV") {
  const Ended ended = run_scenario("a stranger in the hole");
  CHECK(ended.err.find("blocked") != std::string::npos);
  CHECK(ended.signal == SIGSEGV);
  CHECK(ended.err.find("the kernel grew it no further") != std::string::npos);
  // It reports what is committed now, and not what was committed at first.
  CHECK(ended.err.find("committed 65536,") == std::string::npos);
}

TEST_CASE("the high-water mark remembers a depth that was trimmed away") {
  Stack stack({.reserve = 6 * MiB, .strategy = Strategy::grows_down});
  call(stack, [] { descend(3 * MiB); });
  const std::size_t deepest = stack.committed();
  REQUIRE(!stack.trim());
  CHECK(stack.committed() < deepest);
  CHECK(stack.high_water_mark() == deepest);
  call(stack, [] { descend(MiB); });
  CHECK(stack.high_water_mark() == deepest);
  call(stack, [] { descend(4 * MiB); });
  CHECK(stack.high_water_mark() > deepest);
}

TEST_CASE("two stacks beside each other keep their distance and their contents") {
  Stack first({.reserve = 4 * MiB, .strategy = Strategy::grows_down});
  Stack second({.reserve = 4 * MiB, .strategy = Strategy::grows_down});
  const std::size_t wrong = call(first, [&] {
    std::size_t found = 0;
    found += call(second, [&] {
      return descend_to(reinterpret_cast<std::uintptr_t>(second.floor()), 16 * KiB);
    });
    found += descend_to(reinterpret_cast<std::uintptr_t>(first.floor()), 16 * KiB);
    return found;
  });
  CHECK(wrong == 0);
  CHECK(first.committed() <= 4 * MiB);
  CHECK(second.committed() <= 4 * MiB);
}
