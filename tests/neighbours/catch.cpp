// Catch2 with its own main() and its defaults: around each test case it puts signal handlers of
// its own and an alternate signal stack in place, and takes them away again.
#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>  // version 3
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

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

// A test case whose tag begins with a dot runs only if it is asked for.
TEST_CASE("crash without growstack", "[.crash]") { crash(); }
TEST_CASE("crash after growth", "[.crash]") { crash_after_growth(); }
TEST_CASE("crash in a call", "[.crash]") { crash_in_call(); }

TEST_CASE("Catch2 reports a crash as it does without growstack") {
  const Ended without = run_program({"/proc/self/exe", "crash without growstack"});
  CHECK(contains(without.out, "SIGSEGV"));
  for (const char* const name : {"crash after growth", "crash in a call"}) {
    CAPTURE(name);
    const Ended with = run_program({"/proc/self/exe", name});
    CHECK(with.signal == without.signal);
    CHECK(with.exit_code == without.exit_code);
    CHECK(contains(with.out, "SIGSEGV"));
    CHECK(with.err == without.err);
  }
}

int main(int argc, char** argv) { return Catch::Session().run(argc, argv); }
