// doctest with its own main() and its defaults: around each test case it puts signal handlers of
// its own and an alternate signal stack in place, and takes them away again.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include "neighbours/framework.hpp"

using namespace growstack::testing;

TEST_CASE("a stack that was made in the first test case grows") { CHECK(grows_on_new_stack()); }
TEST_CASE("a stack that was made in the second test case grows") { CHECK(grows_on_new_stack()); }

TEST_CASE("a stack of a static pool grows") { CHECK(grows_on_pooled_stack()); }
TEST_CASE("a stack of a static pool grows in the next test case") {
  CHECK(grows_on_pooled_stack());
}

TEST_CASE("a thread grows") { CHECK(grows_on_thread()); }
TEST_CASE("a thread grows in the next test case") { CHECK(grows_on_thread()); }

TEST_CASE("crash without growstack" * doctest::skip()) { crash(); }
TEST_CASE("crash after growth" * doctest::skip()) { crash_after_growth(); }
TEST_CASE("crash in a call" * doctest::skip()) { crash_in_call(); }

namespace {

Ended run_case(const std::string& name) {
  return run_program({"/proc/self/exe", "--no-skip", "--no-version", "--test-case=" + name});
}

}  // namespace

TEST_CASE("doctest reports a crash as it does without growstack") {
  const Ended without = run_case("crash without growstack");
  CHECK(contains(without.out, "SIGSEGV"));
  for (const char* const name : {"crash after growth", "crash in a call"}) {
    CAPTURE(name);
    const Ended with = run_case(name);
    CHECK(with.signal == without.signal);
    CHECK(with.exit_code == without.exit_code);
    CHECK(contains(with.out, "SIGSEGV"));
    CHECK(with.err == without.err);
  }
}
