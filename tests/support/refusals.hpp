// System calls that are refused, one after the other and each with several errors, while a scenario
// does something that needs them.
#pragma once

#include <doctest/doctest.h>

#include "support/each_strategy.hpp"
#include "support/injected_error.hpp"
#include "support/scenario.hpp"

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <span>
#include <string>

namespace growstack::testing {

struct Refusal {
  const char* name;
  long system_call;
};

/// Returns the system call that refuse_each() has chosen for this scenario.
[[nodiscard]] inline long refused_system_call() {
  return std::strtol(std::getenv("GROWSTACK_TEST_CALL"), nullptr, 10);
}

/// Runs body() in a thread of its own, in which refused_system_call() fails. The filter goes with
/// this thread.
template <class Body>
void with_refusal(const Body& body) {
  const long error = std::strtol(std::getenv("GROWSTACK_TEST_ERROR"), nullptr, 10);
  InjectedError::in_a_thread([&](InjectedError& injected) {
    // The allocator maps memory for each thread. Volatile, or the compiler leaves the call out.
    void* volatile allocated = std::malloc(1024);
    std::free(allocated);
    injected.refuse(refused_system_call(), static_cast<int>(error));
    body();
  });
}

/// Runs a scenario of ScenarioOfEach for each system call and each error. The scenario returns 0 if
/// the refusal did not matter, and 1 if it led to an error, which the scenario prints.
inline void refuse_each(std::span<const Refusal> refusals, const std::string& scenario,
                        const Traits& of) {
  int refused = 0;
  for (const Refusal& refusal : refusals) {
    for (const int error : {ENOMEM, EPERM, EAGAIN}) {
      CAPTURE(std::string(refusal.name));
      CAPTURE(error);
      setenv("GROWSTACK_TEST_CALL", std::to_string(refusal.system_call).c_str(), 1);
      setenv("GROWSTACK_TEST_ERROR", std::to_string(error).c_str(), 1);
      const Ended ended = run_scenario_of(scenario, of, std::chrono::seconds(20));
      CAPTURE(ended.err);
      CHECK((ended.exit_code == 0 || ended.exit_code == 1));
      if (ended.exit_code == 1) {
        ++refused;
        CHECK(ended.err.starts_with("growstack: "));
        CHECK_FALSE(contains(ended.err, "NOT FULFILLED"));
        CHECK((error != EPERM || contains(ended.err, "EPERM: ")));
      }
    }
  }
  CHECK(refused > 0);
}

}  // namespace growstack::testing
