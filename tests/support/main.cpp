// main() of every test executable. doctest's own SIGSEGV handler is off: it would replace ours.
#define DOCTEST_CONFIG_IMPLEMENT
#define DOCTEST_CONFIG_NO_POSIX_SIGNALS
#include <doctest/doctest.h>

#include "support/scenario.hpp"

int main(int argc, char** argv) {
  const int scenario = growstack::testing::run_requested_scenario(argc, argv);
  return scenario >= 0 ? scenario : doctest::Context(argc, argv).run();
}
