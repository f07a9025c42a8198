// Options of a stack: the range of each, what is rounded, and what the extremes do.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/stack_pool.hpp>

#include "support/address_of.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <system_error>
#include <vector>

using namespace growstack::testing;
using growstack::call;
using growstack::GrowthPolicy;
using growstack::Stack;
using growstack::StackOptions;
using growstack::Strategy;
using growstack::handler::page_size;

namespace {

/// Returns the message with which the options are refused as invalid. Empty if they are not
/// refused.
std::string refusal(const StackOptions& options) {
  try {
    const Stack stack(options);
    return {};
  } catch (const std::system_error& error) {
    return error.code() == std::errc::invalid_argument
               ? error.what()
               : std::string("another error: ") + error.what();
  }
}

}  // namespace

TEST_CASE("a reserve of zero, or beyond every address, is refused with its range") {
  CHECK(contains(refusal({.reserve = 0}),
                 "StackOptions::reserve must be from 1 byte to 64 TiB, not 0 bytes"));
  CHECK(contains(refusal({.reserve = 65 * TiB}),
                 "StackOptions::reserve must be from 1 byte to 64 TiB, not 65 TiB"));
  CHECK(contains(refusal({.reserve = SIZE_MAX}), "StackOptions::reserve"));
}

TEST_CASE("a stack without a guard is refused, with the reason") {
  CHECK(contains(refusal({.guard = 0}),
                 "StackOptions::guard must be from 1 byte to 64 TiB, not 0 bytes"));
  CHECK(contains(refusal({.guard = 0}), "corrupts memory"));
  CHECK(contains(refusal({.guard = SIZE_MAX}), "StackOptions::guard"));
}

TEST_CASE("a growth factor below 1 or above 16, or that is no number, is refused with its range") {
  for (const double factor : {0.0, 0.999, 16.001, -1.0, std::numeric_limits<double>::infinity(),
                              std::numeric_limits<double>::quiet_NaN()}) {
    CAPTURE(factor);
    CHECK(contains(refusal({.policy = {.factor = factor}}),
                   "GrowthPolicy::factor must be from 1 to 16"));
  }
}

TEST_CASE("steps of zero, or in the wrong order, are refused with their range") {
  CHECK(contains(refusal({.policy = {.least_step = 0}}),
                 "GrowthPolicy::least_step must be at least 1 byte"));
  CHECK(contains(refusal({.policy = {.least_step = 2 * MiB, .largest_step = MiB}}),
                 "at most largest_step"));
  CHECK(contains(refusal({.policy = {.largest_step = SIZE_MAX}}), "64 TiB"));
}

TEST_CASE("an initial commit of zero is refused with its range") {
  CHECK(contains(refusal({.policy = {.initial_commit = 0}}),
                 "GrowthPolicy::initial_commit must be from 1 byte to 64 TiB, not 0 bytes"));
  CHECK(
      contains(refusal({.policy = {.initial_commit = SIZE_MAX}}), "GrowthPolicy::initial_commit"));
}

TEST_CASE("huge pages from a depth of more than one huge page are refused, with the range") {
  CHECK(contains(refusal({.policy = {.huge_from = 2 * MiB + 1}}),
                 "GrowthPolicy::huge_from must be at most 2 MiB (0: never)"));
}

TEST_CASE("a headroom beyond every address is refused with its range") {
  CHECK(contains(refusal({.policy = {.headroom = SIZE_MAX}}),
                 "GrowthPolicy::headroom must be at most 64 TiB"));
}

TEST_CASE("a strategy that is not in the list is refused") {
  CHECK(contains(refusal({.strategy = static_cast<Strategy>(200)}), "StackOptions::strategy"));
}

TEST_CASE("a stack that is refused costs nothing") {
  const std::size_t mappings = mapping_count();
  const std::size_t threads = thread_count();
  CHECK(refusal({.reserve = 0}) != "");
  CHECK(!growstack::handler::installed());
  CHECK((sanitized || mapping_count() == mappings));  // a sanitizer maps memory for the exception
  CHECK(thread_count() == threads);
  CHECK(growstack::process_counters().arenas == 0);
}

TEST_CASE("a reserve of one byte is one page, all of which is usable") {
  for (const growstack::StrategyDescription& each : growstack::strategies()) {
    CAPTURE(each.name);
    Stack stack({.reserve = 1, .guard = 1, .strategy = each.strategy});
    CHECK(stack.reserved() == page_size());
    CHECK(stack.committed() == page_size());
    unsigned char found = 0;
    call(stack, [&] {
      touch_in_one_jump(address_of(stack.floor()), 42);
      found = *static_cast<const volatile unsigned char*>(stack.floor());
    });
    CHECK(found == 42);
  }
}

TEST_CASE("sizes are rounded up to whole pages") {
  const std::size_t page = page_size();
  Stack stack(
      {.reserve = 16 * page + 1, .guard = page + 1, .policy = {.initial_commit = page + 1}});
  CHECK(stack.reserved() == 17 * page);
  CHECK(stack.committed() == 2 * page);
  const auto bounds = growstack::stack_bounds(stack.floor());
  REQUIRE(bounds);
  CHECK(address_of(bounds->floor) - address_of(bounds->guard) == 2 * page);
}

TEST_CASE("an initial commit larger than the reserve is the reserve") {
  const Stack stack({.reserve = 64 * KiB, .policy = {.initial_commit = 64 * MiB}});
  CHECK(stack.committed() == 64 * KiB);
  CHECK(stack.limit() == stack.floor());
}

GROWSTACK_SCENARIO("what is committed at first") {
  std::vector<std::size_t> bytes;
  for (const std::size_t wanted : {growstack::GrowthPolicy{}.initial_commit, MiB}) {
    bytes.push_back(Stack({.policy = {.initial_commit = wanted}}).committed());
  }
  growstack::StackPool pool(growstack::PoolOptions{});
  bytes.push_back(pool.acquire().committed());
  for (const std::size_t each : bytes) {
    std::printf("%zu\n", each);
  }
  return 0;
}

TEST_CASE(
    "with GROWSTACK_INITIAL_COMMIT=page every stack, "
    "also of a pool, begins with one page, whatever it asks for") {
  setenv("GROWSTACK_INITIAL_COMMIT", "page", 1);
  const Ended ended = run_scenario("what is committed at first");
  const std::string page = std::to_string(page_size()) + "\n";
  CHECK(ended.exit_code == 0);
  CHECK(ended.out == page + page + page);
  CHECK(ended.err.empty());
}

TEST_CASE(
    "another value of GROWSTACK_INITIAL_COMMIT is reported "
    "once and changes nothing, and an empty value is none") {
  setenv("GROWSTACK_INITIAL_COMMIT", "4096", 1);
  const Ended ended = run_scenario("what is committed at first");
  CHECK(ended.err ==
        "growstack: GROWSTACK_INITIAL_COMMIT is \"4096\", but can only be \"page\": ignored\n");
  setenv("GROWSTACK_INITIAL_COMMIT", "", 1);
  const Ended without = run_scenario("what is committed at first");
  CHECK(without.err.empty());
  CHECK(ended.out == without.out);
  CHECK(contains(without.out, "65536\n1048576\n"));
}

TEST_CASE("a guard of any size is kept") {
  const Stack stack({.reserve = MiB, .guard = GiB});
  const auto bounds = growstack::stack_bounds(static_cast<const char*>(stack.floor()) - GiB);
  REQUIRE(bounds);
  CHECK(address_of(bounds->floor) - address_of(bounds->guard) == GiB);
}

TEST_CASE("256 GiB can be reserved for one stack, and cost only what is used of them") {
  for (const Strategy strategy :
       {Strategy::pipe_helper, Strategy::in_handler, Strategy::demand_paging}) {
    CAPTURE(name(strategy));
    const std::size_t before = status_bytes("VmRSS");
    Stack stack({.reserve = 256 * GiB, .strategy = strategy});
    CHECK(stack.reserved() == 256 * GiB);
    CHECK(call(stack, [] { return descend(16 * MiB); }) == 0);
    CHECK(stack.committed() >= 16 * MiB);
    // A sanitizer's shadow memory becomes resident as well.
    CHECK((sanitized || status_bytes("VmRSS") - before < 32 * MiB));
  }
}

TEST_CASE("demand paging reaches the far end of 256 GiB in one jump, at the cost of a few pages") {
  Stack stack({.reserve = 256 * GiB, .strategy = Strategy::demand_paging});
  call(stack, [&] { touch_in_one_jump(address_of(stack.floor())); });
  CHECK(stack.high_water_mark() == 256 * GiB);
  CHECK(stack.resident() < 64 * KiB);
}

TEST_CASE("growth works with the extreme factors 16 and 1") {
  Stack fast({.policy = {.factor = 16.0, .largest_step = 256 * MiB}});
  call(fast, [] { descend(MiB); });
  CHECK(fast.counters().growth_faults == 2);  // 64 KiB, 1 MiB, 16 MiB
  CHECK(fast.committed() == 16 * MiB);

  Stack slow({.policy = {.factor = 1.0, .least_step = 64 * KiB, .headroom = 0}});
  call(slow, [] { descend(MiB); });
  CHECK(slow.counters().growth_faults == 16);
  CHECK(slow.committed() == MiB + 64 * KiB);
}

TEST_CASE("no step is larger than largest_step, whatever the factor") {
  Stack stack({.policy = {.factor = 16.0, .largest_step = 128 * KiB}});
  call(stack, [] { descend(MiB); });
  CHECK(stack.committed() <= MiB + 2 * 128 * KiB);
}

TEST_CASE("a headroom as large as the stack commits all of it at the first growth") {
  Stack stack({.reserve = 4 * MiB, .policy = {.headroom = 4 * MiB}});
  call(stack, [] { descend(100 * KiB); });
  CHECK(stack.counters().growth_faults == 1);
  CHECK(stack.committed() == 4 * MiB);
}

TEST_CASE("a headroom that is not whole pages works, also when the stack is trimmed") {
  Stack stack({.policy = {.headroom = 1}});
  CHECK(call(stack, [] { return descend(MiB); }) == 0);
  CHECK(stack.trim_below(static_cast<const char*>(stack.base()) - 100 * KiB) == std::error_code());
  CHECK(stack.committed() <= 100 * KiB + page_size());
}

TEST_CASE("the first 39 bytes of a long name are kept") {
  const std::string letters = "abcdefghijklmnopqrstuvwxyz0123456789-the-rest-is-lost";
  CHECK(Stack({.name = letters}).name() == letters.substr(0, 39));
  CHECK(Stack({.name = letters.substr(0, 39)}).name() == letters.substr(0, 39));
  CHECK(Stack({.name = ""}).name() == "");
  CHECK(Stack().name() == "unnamed");
}

TEST_CASE("a name does not outlive its stack") {
  { const Stack stack({.name = "a long name of an earlier stack"}); }
  CHECK(Stack({.name = "short"}).name() == "short");
}
