// One scenario, once for each of its system calls and each answer that the call can give.
#pragma once

#include "proofs/failures/trial.hpp"

#include <climits>
#include <string>

namespace growstack::testing {

/// How a scenario ends when nothing fails.
struct Ending {
  /// Part of the report with which the process dies. Empty: it does not die.
  std::string report;
  /// How many calls of one number in one thread may fail. The others are left out.
  unsigned most_alike = UINT_MAX;
  /// A child may wait for ever if the process ends by a report. The child has the descriptors that
  /// it waits for, so the kernel does not wake it.
  bool child_may_stay = false;
};

/// Tries all of them, prints a row of the table, and checks that there is no bad run.
void try_every_failure(const std::string& what, WatchedScenario scenario, const Traits& of,
                       const Ending& ending = {});

/// Asks in a child, because this process must not have the handler. Returns why a test cannot run
/// here; empty if it can.
[[nodiscard]] std::string obstacle(const Traits& of);

}  // namespace growstack::testing

/// Makes a test of a scenario for each strategy for which `condition` is true: one of `traits`.
#define FAILURES_WHERE(condition, what, scenario, ...) \
  GROWSTACK_FAILURES(condition, what, scenario, DOCTEST_ANONYMOUS(growstack_failures_), __VA_ARGS__)
#define GROWSTACK_FAILURES(condition, what, scenario, anonymous, ...)                         \
  static constexpr bool DOCTEST_CAT(                                                          \
      anonymous, _where)([[maybe_unused]] const growstack::testing::Traits& traits) {         \
    return condition;                                                                         \
  }                                                                                           \
  TEST_CASE_TEMPLATE_DEFINE(what ": whichever system call fails, it works or it is told", Of, \
                            DOCTEST_CAT(anonymous, _asked)) {                                 \
    if (const std::string why = growstack::testing::obstacle(Of::traits); !why.empty()) {     \
      return growstack::testing::skip(why);                                                   \
    }                                                                                         \
    growstack::testing::try_every_failure(what, scenario, Of::traits,                         \
                                          growstack::testing::Ending{__VA_ARGS__});           \
  }                                                                                           \
  TEST_CASE_TEMPLATE_APPLY(DOCTEST_CAT(anonymous, _asked),                                    \
                           growstack::testing::StrategiesWhere<&DOCTEST_CAT(anonymous, _where)>)
#define FAILURES(what, scenario, ...) FAILURES_WHERE(true, what, scenario, __VA_ARGS__)
