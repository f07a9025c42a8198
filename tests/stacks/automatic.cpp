// Strategy::automatic: it chooses the best strategy that works here, and says why not a better one.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/stack_pool.hpp>

#include "strategies/automatic.hpp"

#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/old_kernel.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <sys/mman.h>

#include <array>
#include <cstdio>
#include <string>
#include <system_error>
#include <utility>

using namespace growstack;
using namespace growstack::testing;

namespace {

const StackOptions options{.reserve = 8 * MiB, .strategy = Strategy::automatic, .name = "chosen"};

constexpr std::array candidates{Strategy::userfault_signal, Strategy::guard_markers,
                                Strategy::pipe_helper};

bool has_guard_markers() { return static_cast<bool>(supported(Strategy::guard_markers)); }

/// Makes and uses a stack. Returns "strategy: reason".
std::string choice() {
  Stack stack(options);
  const bool works = call(stack, [] { return descend(4 * MiB); }) == 0;
  return works ? std::string(name(stack.strategy())) + ": " + std::string(stack.fallback_reason())
               : "does not work";
}

}  // namespace

TEST_CASE("automatic has a name, works everywhere, and is not in the list of strategies") {
  CHECK(name(Strategy::automatic) == "automatic");
  CHECK(strategy_from_name("automatic") == Strategy::automatic);
  CHECK(supported(Strategy::automatic));
  for (const StrategyDescription& each : strategies()) {
    CHECK(each.strategy != Strategy::automatic);
  }
}

TEST_CASE(
    "automatic chooses the first candidate that works here, "
    "and says why no better one was chosen") {
  Stack stack(options);
  std::string reason(stack.fallback_reason());
  for (const Strategy candidate : candidates) {
    CAPTURE(name(candidate));
    if (candidate == stack.strategy()) {
      break;
    }
    CHECK_FALSE(supported(candidate));
    CHECK(contains(reason, std::string(name(candidate)) + ": "));
  }
  CHECK(supported(stack.strategy()));
  CHECK(reason.empty() == (stack.strategy() == candidates[0] && has_guard_markers()));
  CHECK(call(stack, [] { return descend(4 * MiB); }) == 0);
  if (!reason.empty()) {
    std::printf("%s, because %s\n", name(stack.strategy()).data(), reason.c_str());
  }
}

TEST_CASE("a strategy that was asked for by name needs no reason") {
  CHECK(Stack({.strategy = Strategy::pipe_helper}).fallback_reason().empty());
}

TEST_CASE("the reason goes with a stack that is moved") {
  InjectedError::in_a_thread([](InjectedError& injected) {
    without_userfaultfd(injected);
    Stack first(options);
    const std::string reason(first.fallback_reason());
    const Stack second(std::move(first));
    CHECK(second.fallback_reason() == reason);
    CHECK_FALSE(reason.empty());
  });
}

TEST_CASE("without userfaultfd automatic falls back to guard_markers") {
  if (!has_guard_markers()) {
    return skip("guard markers need Linux 6.13");
  }
  std::string chosen;
  InjectedError::in_a_thread([&](InjectedError& injected) {
    without_userfaultfd(injected);
    chosen = choice();
  });
  CAPTURE(chosen);
  CHECK(chosen.starts_with("guard_markers: userfault_signal: "));
  CHECK(contains(chosen, "userfaultfd is forbidden"));
}

TEST_CASE("without guard markers automatic takes userfault_signal, and says what its guards lack") {
  if (const Support here = supported(Strategy::userfault_signal); !here) {
    return skip(here.reason);
  }
  std::string chosen;
  InjectedError::in_a_thread([&](InjectedError& injected) {
    without_guard_markers(injected);
    chosen = choice();
  });
  CAPTURE(chosen);
  CHECK(chosen.starts_with("userfault_signal: "));
  CHECK(contains(chosen, "its guards have no markers (madvise: "));
}

TEST_CASE("without guard markers and userfaultfd automatic falls back to pipe_helper") {
  std::string chosen;
  InjectedError::in_a_thread([&](InjectedError& injected) {
    without_guard_markers(injected);
    without_userfaultfd(injected);
    chosen = choice();
  });
  CAPTURE(chosen);
  CHECK(chosen.starts_with("pipe_helper: userfault_signal: "));
  CHECK(contains(chosen, "userfaultfd is forbidden"));
  CHECK(contains(chosen, "guard_markers: "));
  CHECK(contains(chosen, "MADV_GUARD_INSTALL"));
}

GROWSTACK_SCENARIO("choose with all memory locked") {
  if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
    return 8;
  }
  std::puts(choice().c_str());
  return 0;
}

TEST_CASE("in a process that locks all its memory automatic finds a strategy that works") {
  if (sanitized) {
    return skip("a sanitizer's shadow memory cannot be locked");
  }
  const Ended ended = run_scenario("choose with all memory locked");
  if (ended.exit_code == 8) {
    return skip("RLIMIT_MEMLOCK is too small for mlockall");
  }
  CAPTURE(ended.out);
  CHECK(ended.exit_code == 0);
  CHECK_FALSE(contains(ended.out, "does not work"));
}

TEST_CASE("options out of range are refused as for any strategy") {
  try {
    const Stack stack({.reserve = 0, .strategy = Strategy::automatic});
    FAIL("it was not refused");
  } catch (const std::system_error& error) {
    CHECK(error.code() == std::errc::invalid_argument);
  }
}

// ---- what it passes over ------------------------------------------------------------------------

TEST_CASE(
    "where the kernel charges all that may be written to, automatic passes over what would be "
    "charged at once") {
  const Circumstances strict{.kernel_charges_all = true};
  for (const StrategyDescription& each : strategies()) {
    CAPTURE(each.name);
    const std::string objection = objection_to(each, options, strict);
    CHECK(objection.empty() == (each.charge != DataCharge::at_once));
    CHECK((objection.empty() || contains(objection, "vm.overcommit_memory is 2")));
  }
  CHECK(objection_to(*describe(automatic_candidates().back()), options, strict).empty());
}

TEST_CASE("automatic has no objection to any strategy where there is enough of everything") {
  for (const StrategyDescription& each : strategies()) {
    CAPTURE(each.name);
    CHECK(objection_to(each, options, {}).empty());
    CHECK(objection_to(each, options, {.budget = 4 * options.reserve}).empty());
  }
}

TEST_CASE("with a budget of less than a few reserves automatic takes what is charged as it grows") {
  const auto reason_within_budget = [] {
    const StackPool pool({.reserve = 8 * MiB, .budget = 16 * MiB});
    return std::string(pool.fallback_reason());
  };
  InjectedError::in_a_thread([&](InjectedError& injected) {
    without_userfaultfd(injected);
    CHECK(contains(reason_within_budget(), "guard_markers: the budget (16 MiB) has no room"));
    set_process_budget(3 * options.reserve);
    Stack stack(options);
    CHECK(contains(std::string(stack.fallback_reason()),
                   "guard_markers: the budget (24 MiB) has no room"));
    CHECK_FALSE(describe(stack.strategy())->charges_reserve_when_deep);
    CHECK(call(stack, [] { return descend(6 * MiB); }) == 0);
  });
}

GROWSTACK_SCENARIO("overflow of the chosen") {
  no_core();
  Stack stack(options);
  std::printf("%s\n", name(stack.strategy()).data());
  std::fflush(stdout);
  call(stack, [] { descend_to(0); });
  return 0;
}

TEST_CASE("whatever strategy automatic chose, an overflow is reported") {
  const Ended ended = run_scenario("overflow of the chosen");
  CHECK(ended.signal == (ended.out == "userfault_signal\n"
                             ? signal_of_overflow(Strategy::userfault_signal)
                             : SIGSEGV));
  CHECK(contains(ended.err, "stack overflow"));
  CHECK(contains(ended.err, "\"chosen\""));
}
