// locked: memory that is in physical memory from the start to the end, so that no page fault
// happens.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/limits.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <sys/resource.h>

#include <cstdio>
#include <memory>
#include <string>
#include <system_error>

using namespace growstack;
using namespace growstack::testing;

namespace {

StackOptions options_with(bool on_fault) {
  return {.reserve = 2 * MiB,
          .strategy = Strategy::locked,
          .lock_on_fault = on_fault,
          .name = "locked"};
}

bool has_flag_everywhere(const Stack& stack, std::string_view flag) {
  bool everywhere = true;
  for (const Mapping& mapping : mappings_in(stack.floor(), stack.base())) {
    everywhere = everywhere && mapping.has_flag(flag);
  }
  return everywhere;
}

long page_faults() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_minflt + usage.ru_majflt;
}

/// Returns why nothing can be locked here. Empty if something can.
std::string missing() {
  raise_soft_limit(RLIMIT_MEMLOCK);
  return supported(Strategy::locked).reason;
}

}  // namespace

TEST_CASE("all of a locked stack is resident from the start, and locked") {
  if (const std::string reason = missing(); !reason.empty()) {
    return skip(reason);
  }
  const Stack stack(options_with(false));
  CHECK(stack.resident() == stack.reserved());
  CHECK(stack.high_water_mark() == stack.reserved());
  CHECK(has_flag_everywhere(stack, "lo"));
}

TEST_CASE("no page fault happens on the way to the floor of a locked stack") {
  if (const std::string reason = missing(); !reason.empty()) {
    return skip(reason);
  }
  if (sanitized) {
    return skip("a sanitizer's shadow memory is not locked");
  }
  Stack stack(options_with(false));
  call(stack, [] { descend(16 * KiB); });  // page faults read the code from its file
  const long faults = call(stack, [&] {
    const long before = page_faults();
    descend_to(reinterpret_cast<std::uintptr_t>(stack.floor()), 16 * KiB);
    return page_faults() - before;
  });
  CHECK(faults == 0);
}

TEST_CASE("a page of a stack that is locked on fault is resident once it was touched, and stays") {
  if (const std::string reason = missing(); !reason.empty()) {
    return skip(reason);
  }
  Stack stack(options_with(true));
  CHECK(stack.resident() == 0);
  CHECK(has_flag_everywhere(stack, "lo"));
  call(stack, [] { descend(512 * KiB); });
  CHECK(stack.resident() >= 512 * KiB);
  CHECK((sanitized || stack.resident() <= 600 * KiB));
  CHECK(stack.high_water_mark() >= 512 * KiB);
  CHECK(stack.trim() == std::errc::not_supported);
  CHECK(stack.resident() >= 512 * KiB);
}

TEST_CASE("what was locked is unlocked when the stack is gone") {
  if (const std::string reason = missing(); !reason.empty()) {
    return skip(reason);
  }
  const std::size_t before = status_bytes("VmLck");
  auto stack = std::make_unique<Stack>(options_with(false));
  CHECK(status_bytes("VmLck") == before + stack->reserved());
  stack.reset();
  CHECK(status_bytes("VmLck") == before);
}

GROWSTACK_SCENARIO("more than may be locked") {
  if (!set_both_limits(RLIMIT_MEMLOCK, 512 * KiB) || !become_nobody()) {
    return 8;
  }
  for (const bool on_fault : {false, true}) {
    try {
      const Stack stack(options_with(on_fault));
      return 2;
    } catch (const std::system_error& error) {
      std::puts(error.what());
    }
  }
  // One fits and a second one does not. What was refused costs nothing.
  const StackOptions small{.reserve = 320 * KiB, .strategy = Strategy::locked};
  auto first = std::make_unique<Stack>(small);
  for (int again = 0; again < 5; ++again) {
    try {
      const Stack second(small);
      return 3;
    } catch (const std::system_error& error) {
      std::puts(error.what());
    }
  }
  first.reset();
  const Stack third(small);
  return process_counters().stacks == 1 ? 7 : 4;
}

TEST_CASE(
    "at RLIMIT_MEMLOCK a stack is refused with the limit and the cure, "
    "and there is room again once another is gone") {
  const Ended ended = run_scenario("more than may be locked");
  if (ended.exit_code == 8) {
    return skip("privileges cannot be given up here");
  }
  CAPTURE(ended.out);
  CHECK(ended.exit_code == 7);
  std::size_t lines = 0;
  for (std::size_t at = 0; at < ended.out.size(); at = ended.out.find('\n', at) + 1) {
    const std::string line = ended.out.substr(at, ended.out.find('\n', at) - at);
    CHECK(contains(line, "RLIMIT_MEMLOCK"));
    CHECK(contains(line, "ulimit -l"));
    ++lines;
  }
  CHECK(lines == 7);
}
