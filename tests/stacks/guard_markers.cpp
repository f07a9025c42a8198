// guard_markers: a guard for every stack and a mapping for none, and what the window of markers
// sees and does not see.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include "memory/account.hpp"

#include "support/address_of.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/old_kernel.hpp"
#include "support/probe.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <random>
#include <string>
#include <system_error>
#include <vector>

using namespace growstack;
using namespace growstack::testing;
using growstack::handler::page_size;

namespace {

const StackOptions options{
    .reserve = 8 * MiB, .strategy = Strategy::guard_markers, .name = "marked"};

/// Returns how many pages of the guard can be read.
std::size_t readable_in_guard(const Stack& stack) {
  const std::uintptr_t floor = address_of(stack.floor());
  return readable_pages(floor - options.guard, floor);
}

}  // namespace

#define TEST_OF_GUARD_MARKERS(promise) ONE_STRATEGY(Strategy::guard_markers, promise)

// ---- what it costs ------------------------------------------------------------------------------

TEST_OF_GUARD_MARKERS(
    "a stack of 8 MiB that was entered once costs a page of memory and a page of page tables") {
  if (sanitized) {
    return skip("a sanitizer's shadow memory has page tables of its own");
  }
  constexpr std::size_t count = 512;
  std::vector<Stack> stacks;
  stacks.reserve(count);
  const std::size_t tables = status_bytes("VmPTE");
  for (std::size_t index = 0; index < count; ++index) {
    stacks.emplace_back(options);
    call(stacks.back(), [] {});
  }
  std::size_t resident = 0;
  for (const Stack& stack : stacks) {
    resident += stack.resident();
  }
  CHECK(resident == count * page_size());
  CHECK((status_bytes("VmPTE") - tables) / count <= 5 * KiB);
}

// ---- the window ---------------------------------------------------------------------------------

TEST_OF_GUARD_MARKERS(
    "growth is seen within the window, "
    "and all of the stack is committed once the window is used up") {
  Stack stack(options);
  call(stack, [] { descend(512 * KiB); });
  CHECK(stack.counters().growth_faults > 0);
  CHECK(stack.committed() < 2 * MiB);
  call(stack, [] { descend(2 * MiB); });
  CHECK(stack.limit() == stack.floor());
  const std::uint32_t faults = stack.counters().growth_faults;
  call(stack, [] { descend(7 * MiB); });
  CHECK(stack.counters().growth_faults == faults);
  CHECK(stack.high_water_mark() >= 7 * MiB);
}

TEST_OF_GUARD_MARKERS(
    "a jump over the window is served without an event, and counted when a trim finds it") {
  Stack stack(options);
  call(stack, [] { touch_in_one_jump(GROWSTACK_HERE - 5 * MiB); });
  CHECK(stack.counters().growth_faults == 0);
  CHECK(stack.counters().unseen_growth == 0);
  CHECK(stack.high_water_mark() >= 5 * MiB);
  CHECK(stack.trim() == std::error_code());
  CHECK(stack.counters().unseen_growth == 1);
  CHECK(stack.resident() == 0);
  CHECK(stack.high_water_mark() >= 5 * MiB);
  CHECK(stack.trim() == std::error_code());
  CHECK(stack.counters().unseen_growth == 1);
}

TEST_OF_GUARD_MARKERS("every trim arms the window anew") {
  Stack stack(options);
  std::uint32_t faults_at_first = 0;
  for (std::uint32_t round = 1; round <= 4; ++round) {
    CAPTURE(round);
    CHECK(call(stack, [] { return descend(6 * MiB); }) == 0);
    if (round == 1) {
      faults_at_first = stack.counters().growth_faults;
    }
    CHECK(stack.counters().growth_faults == round * faults_at_first);
    CHECK(stack.trim() == std::error_code());
    CHECK(stack.committed() == options.policy.initial_commit);
    CHECK(readable_in_guard(stack) == 0);
  }
}

TEST_OF_GUARD_MARKERS("the window reaches over all of a small stack, so every growth is seen") {
  Stack stack({.reserve = MiB,
               .policy = {.factor = 1.0, .headroom = 0},
               .strategy = Strategy::guard_markers});
  CHECK(stack.reserved() == MiB);
  call(stack, [&] {
    for (std::uintptr_t at = address_of(stack.base()) - 64 * KiB - 1;
         at >= address_of(stack.floor()); at -= 16 * KiB) {
      touch_in_one_jump(at);
    }
  });
  CHECK(stack.counters().growth_faults == (MiB - 64 * KiB) / (16 * KiB));
  CHECK(stack.limit() == stack.floor());
}

// ---- the guard ----------------------------------------------------------------------------------

TEST_OF_GUARD_MARKERS(
    "the guard survives growth to the floor, a trim, and reuse by the next stack") {
  const Stack neighbour(options);  // keeps the arena alive
  for (int round = 0; round < 3; ++round) {
    CAPTURE(round);
    Stack stack(options);
    CHECK(readable_in_guard(stack) == 0);
    call(stack, [&] { touch_in_one_jump(address_of(stack.floor())); });
    call(stack, [&] { descend_to(address_of(stack.floor()), 16 * KiB); });
    CHECK(readable_in_guard(stack) == 0);
    CHECK(stack.trim() == std::error_code());
    CHECK(readable_in_guard(stack) == 0);
    CHECK(readable_in_guard(neighbour) == 0);
  }
}

TEST_OF_GUARD_MARKERS(
    "a program that gives the guard's memory back to the kernel does not open it") {
  Stack stack(options);
  char* const guard = static_cast<char*>(stack.floor()) - options.guard;
  CHECK(madvise(guard, options.guard, MADV_DONTNEED) == 0);
  CHECK(readable_in_guard(stack) == 0);
}

GROWSTACK_SCENARIO("forked with markers") {
  no_core();
  Stack stack(options);
  call(stack, [] { descend(200 * KiB); });
  const int grown =
      end_of_child([&] { return call(stack, [] { return descend(7 * MiB); }) == 0 ? 7 : 1; });
  const int overflown = end_of_child([&] {
    call(stack, [] { descend_to(0); });
    return 1;
  });
  return grown == 7 && overflown == killed_by(SIGSEGV) && readable_in_guard(stack) == 0 ? 7 : 1;
}

TEST_OF_GUARD_MARKERS("a forked child keeps growing, and keeps its guard") {
  const Ended ended = run_scenario("forked with markers");
  CHECK(ended.exit_code == 7);
  CHECK(contains(ended.err, "stack overflow"));
}

// ---- where it does not work ---------------------------------------------------------------------

TEST_CASE("on a kernel without guard markers the error says which kernels have them") {
  InjectedError::in_a_thread([](InjectedError& injected) {
    without_guard_markers(injected);
    const std::string refused = error_of([] { const Stack stack(options); });
    CAPTURE(refused);
    CHECK(contains(refused, "MADV_GUARD_INSTALL"));
    CHECK(contains(refused, "6.13"));
    CHECK(process_counters().arenas == 0);
    const Support here = supported(Strategy::guard_markers);
    CHECK_FALSE(here);
    CHECK(contains(here.reason, "6.13"));
  });
}

GROWSTACK_SCENARIO("markers in locked memory") {
  if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
    return 8;
  }
  Stack stack(options);
  const std::size_t before = stack.resident();
  const bool grows = call(stack, [] { return descend(4 * MiB); }) == 0;
  return before <= 64 * KiB && grows ? 7 : 1;
}

TEST_OF_GUARD_MARKERS(
    "in a process that locks all its memory such a "
    "stack is left unlocked, so it is lean and can grow") {
  if (sanitized) {
    return skip("a sanitizer's shadow memory cannot be locked");
  }
  const Ended ended = run_scenario("markers in locked memory");
  if (ended.exit_code == 8) {
    return skip("RLIMIT_MEMLOCK is too small for mlockall");
  }
  CHECK(ended.exit_code == 7);
}

ONE_STRATEGY(Strategy::guard_markers,
             "with huge pages a stack may be trimmed to any place, also within its lowest 2 MiB") {
  StackOptions deep = options;
  deep.policy = GrowthPolicy::throughput();
  Stack stack(deep);
  CHECK(call(stack, [&] { return descend_to(address_of(stack.floor())); }) == 0);
  const std::size_t resident = stack.resident();
  CHECK(stack.trim_below(static_cast<const char*>(stack.floor()) + MiB) == std::error_code());
  CHECK(stack.resident() <= resident - MiB + 64 * KiB);
  CHECK(readable_in_guard(stack) == 0);
  CHECK(call(stack, [&] { return descend_to(address_of(stack.floor())); }) == 0);
}

ONE_STRATEGY(
    Strategy::guard_markers,
    "memory that a frame reached by a jump over the window is resident memory of the stack") {
  StackPool pool({.reserve = 8 * MiB, .strategy = Strategy::guard_markers});
  Stack stack = pool.acquire();
  call(stack, [&] {
    touch_in_one_jump(address_of(stack.base()) - 5 * MiB);
    descend_to(address_of(stack.base()) - 6 * MiB);
  });
  CHECK(stack.resident() >= MiB);
  CHECK(stack.resident() <= pool.resident());
}

// ---- the limit ----------------------------------------------------------------------------------

namespace {

/// Does one random thing with a stack: lets it grow, in steps or by a jump, or trims it in one of
/// the three ways. Returns how much went wrong.
std::size_t use_at_random(Stack& stack, std::mt19937& random) {
  const std::size_t most = stack.reserved() - 64 * KiB;
  const std::size_t shallow = std::min(most, 4 * MiB);
  const std::size_t depth =
      random() % (random() % 2 == 0 ? most : shallow) / page_size() * page_size();
  char* const place = static_cast<char*>(stack.base()) - depth;
  switch (random() % 6) {
    case 0:
      return stack.trim() ? 1 : 0;
    case 1:
      return stack.trim_below(place) ? 1 : 0;
    case 2:
      return call(stack, [&]() -> std::size_t {
        if (depth < 64 * KiB) {
          return Stack::trim_current() ? 1 : 0;
        }
        std::size_t wrong = 0;
        at_stack_pointer(address_of(place), [&] { wrong += Stack::trim_current() ? 1 : 0; });
        return wrong;
      });
    case 3:
      call(stack, [&] {
        if (depth > 64 * KiB) {
          touch_in_one_jump(address_of(place));
        }
      });
      return 0;
    default:
      return call(stack, [&] { return descend_to(address_of(place)); });
  }
}

/// Returns how many pages from the limit to the base the kernel cannot write to.
std::size_t unwritable_pages(const Stack& stack, int zeros) {
  std::size_t count = 0;
  for (char* page = static_cast<char*>(stack.limit()); page < stack.base(); page += page_size()) {
    count += read(zeros, page, 1) == 1 ? 0 : 1;
  }
  return count;
}

/// Returns how many pages from the limit to the base the kernel cannot read. To look makes no page
/// resident.
std::size_t unreadable_pages(const Stack& stack) {
  const std::uintptr_t limit = address_of(stack.limit());
  const std::uintptr_t base = address_of(stack.base());
  return (base - limit) / page_size() - readable_pages(limit, base);
}

std::vector<StackOptions> of_many_shapes() {
  std::vector<StackOptions> shapes;
  for (const std::size_t huge_from : {std::size_t{0}, 128 * KiB, 2 * MiB}) {
    for (const std::size_t initial_commit : {4 * KiB, 64 * KiB, 3 * MiB + 4 * KiB, 4 * MiB}) {
      for (const std::size_t reserve : {MiB, 6 * MiB, 20 * MiB + 12 * KiB}) {
        shapes.push_back({.reserve = reserve,
                          .policy = {.initial_commit = initial_commit, .huge_from = huge_from},
                          .strategy = Strategy::guard_markers});
      }
    }
  }
  return shapes;
}

}  // namespace

ONE_STRATEGY(Strategy::guard_markers,
             "whatever a stack does, all memory from its limit to its base is there, also for the "
             "kernel, and just as much is charged") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer's own stack of calls has no room for so many frames");
  }
  const int zeros = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  REQUIRE(zeros >= 0);
  std::mt19937 random(1);
  for (const StackOptions& shape : of_many_shapes()) {
    CAPTURE(shape.reserve);
    CAPTURE(shape.policy.initial_commit);
    CAPTURE(shape.policy.huge_from);
    for (const bool fills : {false, true}) {
      CAPTURE(fills);
      Stack stack(shape);
      std::size_t wrong = 0;
      std::size_t missing = unreadable_pages(stack);
      std::size_t wrongly_charged = process_account().used() == stack.committed() ? 0 : 1;
      for (int step = 0; step < 25; ++step) {
        wrong += use_at_random(stack, random);
        missing += fills ? unwritable_pages(stack, zeros) : unreadable_pages(stack);
        wrongly_charged += process_account().used() == stack.committed() ? 0 : 1;
      }
      CHECK(wrong == 0);
      CHECK(missing == 0);
      CHECK(wrongly_charged == 0);
      CHECK(readable_in_guard(stack) == 0);
    }
    CHECK(process_account().used() == 0);
  }
  close(zeros);
}

ONE_STRATEGY(
    Strategy::guard_markers,
    "a stack that was trimmed to below its window commits again what is kept, and no more") {
  Stack stack({.reserve = 32 * MiB, .strategy = Strategy::guard_markers});
  char* const kept = static_cast<char*>(stack.base()) - 9 * MiB - 12 * KiB;
  for (int round = 0; round < 3; ++round) {
    CAPTURE(round);
    CHECK(call(stack, [] { return descend(20 * MiB); }) == 0);
    CHECK(stack.limit() == stack.floor());
    REQUIRE(!stack.trim_below(kept));
    CHECK(stack.limit() < kept);
    CHECK(static_cast<char*>(stack.limit()) + 64 * KiB > kept);
    CHECK(process_account().used() == stack.committed());
    REQUIRE(!stack.trim_below(kept - MiB));
    CHECK(static_cast<char*>(stack.limit()) + 64 * KiB > kept);
    REQUIRE(!stack.trim_below(kept + 4 * MiB));
    CHECK(static_cast<char*>(stack.limit()) + 64 * KiB > kept + 4 * MiB);
    CHECK(process_account().used() == stack.committed());
    REQUIRE(!stack.trim());
    CHECK(stack.committed() == 64 * KiB);
    CHECK(process_account().used() == 64 * KiB);
  }
}

ONE_STRATEGY(
    Strategy::guard_markers,
    "an initial commit that is larger than the window is charged as it is, with huge pages, "
    "and without them as all of the reserve") {
  for (const std::size_t huge_from : {std::size_t{0}, 128 * KiB, 2 * MiB}) {
    CAPTURE(huge_from);
    Stack stack({.reserve = 32 * MiB,
                 .policy = {.initial_commit = 5 * MiB + 8 * KiB, .huge_from = huge_from},
                 .strategy = Strategy::guard_markers});
    CHECK(stack.committed() == (huge_from == 0 ? stack.reserved() : 5 * MiB + 8 * KiB));
    CHECK(process_account().used() == stack.committed());
    CHECK(stack.counters().growth_faults == 0);
    CHECK(call(stack, [] { return descend(5 * MiB - 64 * KiB); }) == 0);
    CHECK(stack.counters().growth_faults == 0);
    CHECK(call(stack, [] { return descend(6 * MiB); }) == 0);
    CHECK(stack.counters().growth_faults == (huge_from == 0 ? 0 : 1));
  }
}
