// What dies, dies in a child: a scenario is a function that a test runs in a fresh process of its
// own executable, whose exit, signal and words the test then asserts.
#pragma once

#include <chrono>
#include <csignal>
#include <functional>
#include <string>
#include <system_error>
#include <vector>

namespace growstack::testing {

/// Registers a scenario under a name. Use GROWSTACK_SCENARIO.
struct Scenario {
  Scenario(const char* name, int (*body)());
};

#define GROWSTACK_SCENARIO_JOIN2(a, b) a##b
#define GROWSTACK_SCENARIO_JOIN(a, b) GROWSTACK_SCENARIO_JOIN2(a, b)
/// GROWSTACK_SCENARIO("overflow") { ...; return 0; }: the value returned is the exit code.
#define GROWSTACK_SCENARIO(name)                                                              \
  static int GROWSTACK_SCENARIO_JOIN(scenario_, __LINE__)();                                  \
  static const ::growstack::testing::Scenario GROWSTACK_SCENARIO_JOIN(registered_, __LINE__)( \
      name, &GROWSTACK_SCENARIO_JOIN(scenario_, __LINE__));                                   \
  static int GROWSTACK_SCENARIO_JOIN(scenario_, __LINE__)()

/// How a child ended and what it said.
struct Ended {
  int exit_code = -1;  ///< -1 if a signal ended it
  int signal = 0;      ///< 0 if it exited
  bool dumped_core = false;
  bool timed_out = false;  ///< it was killed because it did not end in time
  std::string out;
  std::string err;
};

/// Runs the scenario in a new process (fork and exec of this executable; no state is shared).
Ended run_scenario(const std::string& name,
                   std::chrono::seconds patience = std::chrono::seconds(60));

/// Runs a program, found as a shell finds it, in the same way. Exit code 127: there is none of that
/// name.
Ended run_program(const std::vector<std::string>& words,
                  std::chrono::seconds patience = std::chrono::seconds(60));

/// For a scenario that is meant to crash: leaves no core behind.
void no_core();

/// Whether what a child said holds `part`.
bool contains(const std::string& text, const std::string& part);

/// Ends the scenario, saying what was not as it should be.
void require(bool fulfilled, const std::string& what);

/// The message of the std::system_error that it throws; empty if it throws none.
template <class Body>
std::string error_of(Body body) {
  try {
    body();
    return {};
  } catch (const std::system_error& error) {
    return error.what();
  }
}

/// For main(): runs the scenario that the arguments ask for, if they do, and returns its exit code;
/// otherwise -1.
int run_requested_scenario(int argc, char** argv);

/// Says why a test cannot run here; ctest counts it as skipped.
void skip(const std::string& reason);

/// Whether that was said.
[[nodiscard]] bool skipped();

}  // namespace growstack::testing
