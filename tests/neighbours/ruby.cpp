// Ruby, embedded. It asks for the bounds of its thread's stack, scans that stack for objects, and
// throws SystemStackError before the end. So it runs on a growstack::Thread.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "support/recursion.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <unistd.h>

#include <cstdlib>

// Ruby's headers have unused parameters and more.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wpedantic"
#include <ruby.h>
#pragma GCC diagnostic pop

using namespace growstack;
using namespace growstack::testing;

namespace {

/// Each frame of this recursion has frames of C, which need most of the stack.
constexpr const char* program = R"(
  def down(n)
    n == 0 ? 0 : 1 + [n].each_entry.map { |m| down(m - 1) }.first
  end
  def overflow
    down(-1)
    raise "no end"
  rescue SystemStackError
    1
  end
  def in_use(n)
    text = "object number #{n}"
    n == 0 ? collect : in_use(n - 1)
    raise "lost" unless text == "object number #{n}"
  end
)";

VALUE collect(VALUE) { return rb_gc_start(); }

bool run(const char* statement) {
  int failed = 0;
  rb_eval_string_protect(statement, &failed);
  return failed == 0;
}

int ruby_on_this_thread() {
  // Ruby's own stack of values must not end first.
  setenv("RUBY_THREAD_VM_STACK_SIZE", "268435456", 1);
  ruby_init();
  rb_define_global_function("collect", collect, 0);
  const bool defined = run(program);
  const bool deep_enough = run("raise unless down(20_000) == 20_000");
  const bool overflows = run("overflow") && run("overflow") && run("overflow");
  const bool collects = run("in_use(5_000)") && run("in_use(5_000)");
  const bool still = run("raise unless down(20_000) == 20_000");
  return defined && deep_enough && overflows && collects && still ? 7 : 1;
}

}  // namespace

GROWSTACK_SCENARIO("on a thread") {
  int result = 0;
  Thread({.reserve = 128 * MiB, .name = "ruby"}, [&result] {
    result = ruby_on_this_thread();
  }).join();
  _exit(result);
}

TEST_CASE("on a growstack::Thread, Ruby goes deep, collects, and throws SystemStackError again") {
  CHECK(run_scenario("on a thread").exit_code == 7);
}

namespace {

VALUE descend_in_c(VALUE) {
  return ULONG2NUM(call({.reserve = 256 * MiB, .name = "extension"}, recurse, deep));
}

}  // namespace

GROWSTACK_SCENARIO("C in a call") {
  ruby_init();
  rb_define_global_function("descend", descend_in_c, 0);
  const bool deep_enough = run("raise unless descend > 10_000") && run("raise unless descend > 0");
  rb_gc_start();
  return deep_enough ? 7 : 1;
}

TEST_CASE("C that uses nothing of Ruby goes deep in a call out of Ruby") {
  CHECK(run_scenario("C in a call").exit_code == 7);
}
