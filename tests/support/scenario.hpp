// Scenarios. A scenario is a function that a test runs in a new process of its own executable, so
// that it may die there. The test then asserts how the process ended and what it printed.
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

/// How a process ended and what it printed. A scenario returns 7 if all went well, because no
/// crash, no sanitizer and no shell has this exit code; or 0, where a success is no surprise.
struct Ended {
  int exit_code = -1;  ///< -1 if a signal ended it
  int signal = 0;      ///< 0 if it exited
  bool dumped_core = false;
  bool timed_out = false;  ///< it was killed because it did not end in time
  std::string out;
  std::string err;
};

/// Runs the scenario in a new process, by fork and exec of this executable: no state is shared.
Ended run_scenario(const std::string& name,
                   std::chrono::seconds patience = std::chrono::seconds(60));

/// Runs a program, which is found as a shell finds it. Exit code 127 says that there is no program
/// of that name.
Ended run_program(const std::vector<std::string>& words,
                  std::chrono::seconds patience = std::chrono::seconds(60));

/// Lets a scenario that is going to crash leave no core behind.
void no_core();

/// Returns whether `part` is a part of `text`.
bool contains(const std::string& text, const std::string& part);

/// Returns whether a part of `text` matches the regular expression.
bool matches(const std::string& text, const std::string& pattern);

/// Ends the scenario with exit code 101 unless `fulfilled`, and says what was not.
void require(bool fulfilled, const std::string& what);

/// Returns the message of the std::system_error that body() throws. Empty if it throws none.
template <class Body>
std::string error_of(Body body) {
  try {
    body();
    return {};
  } catch (const std::system_error& error) {
    return error.what();
  }
}

/// Runs the scenario that the arguments of main() ask for, and returns its exit code. Returns -1 if
/// they ask for none.
int run_requested_scenario(int argc, char** argv);

/// Says why a test cannot run here. ctest then counts it as skipped.
void skip(const std::string& reason);

/// Returns whether skip() was called.
[[nodiscard]] bool skipped();

}  // namespace growstack::testing
