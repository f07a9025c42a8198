// main() of every test executable. doctest's own SIGSEGV handler is off: it would replace ours.
#define DOCTEST_CONFIG_IMPLEMENT
#define DOCTEST_CONFIG_NO_POSIX_SIGNALS
#include <doctest/doctest.h>

#include "support/scenario.hpp"

#include <cstdio>

namespace {

/// ctest asks for one test case by its name. If the name was mangled on the way (by a semicolon,
/// say) it matches no case, and doctest takes that for a success.
bool nothing_ran = false;

struct NoticeThatNothingRan : doctest::IReporter {
  explicit NoticeThatNothingRan(const doctest::ContextOptions&) {}
  void test_run_end(const doctest::TestRunStats& stats) override {
    nothing_ran = stats.numTestCasesPassingFilters == 0;
  }

  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_case_start(const doctest::TestCaseData&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};
REGISTER_LISTENER("nothing ran", 1, NoticeThatNothingRan);

}  // namespace

int main(int argc, char** argv) {
  const int scenario = growstack::testing::run_requested_scenario(argc, argv);
  if (scenario >= 0) {
    return scenario;
  }
  const int result = doctest::Context(argc, argv).run();
  if (nothing_ran) {
    std::fputs("no test case has such a name\n", stderr);
    return 1;
  }
  return result;
}
