// Boost.Test with its own main() and its defaults: around each test case it puts signal handlers of
// its own and an alternate signal stack in place, and takes them away again. After a crash it jumps
// out of its handler, and goes on with the next test case.
#define BOOST_TEST_MODULE boost_test
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include "neighbours/framework.hpp"

#include <string>

using namespace growstack::testing;
namespace test = boost::unit_test;

BOOST_AUTO_TEST_CASE(a_stack_that_was_made_in_the_first_test_case_grows) {
  BOOST_TEST(grows_on_new_stack());
}
BOOST_AUTO_TEST_CASE(a_stack_that_was_made_in_the_second_test_case_grows) {
  BOOST_TEST(grows_on_new_stack());
}

BOOST_AUTO_TEST_CASE(a_stack_of_a_static_pool_grows) { BOOST_TEST(grows_on_pooled_stack()); }
BOOST_AUTO_TEST_CASE(a_stack_of_a_static_pool_grows_in_the_next_test_case) {
  BOOST_TEST(grows_on_pooled_stack());
}

BOOST_AUTO_TEST_CASE(a_thread_grows) { BOOST_TEST(grows_on_thread()); }
BOOST_AUTO_TEST_CASE(a_thread_grows_in_the_next_test_case) { BOOST_TEST(grows_on_thread()); }

BOOST_AUTO_TEST_CASE(crashes_without_growstack, *test::disabled()) { crash(); }
BOOST_AUTO_TEST_CASE(crashes_after_growth, *test::disabled()) { crash_after_growth(); }
BOOST_AUTO_TEST_CASE(crashes_in_a_call, *test::disabled()) { crash_in_call(); }

BOOST_AUTO_TEST_CASE(boost_test_reports_a_crash_as_it_does_without_growstack) {
  const Ended without = run_program({"/proc/self/exe", "--run_test=crashes_without_growstack"});
  BOOST_TEST(contains(without.out, "memory access violation"));
  for (const char* const name : {"crashes_after_growth", "crashes_in_a_call"}) {
    const Ended with = run_program({"/proc/self/exe", std::string("--run_test=") + name});
    BOOST_TEST_CONTEXT(name) {
      BOOST_TEST(with.signal == without.signal);
      BOOST_TEST(with.exit_code == without.exit_code);
      BOOST_TEST(contains(with.out, "memory access violation"));
    }
  }
}
