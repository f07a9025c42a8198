// heap: the naive baseline. Memory from malloc, without a guard, that the fault handler does not
// know.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include "support/descend.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <system_error>

using namespace growstack;
using namespace growstack::testing;

namespace {

const StackOptions options{.reserve = 2 * MiB, .strategy = Strategy::heap, .name = "from the heap"};

}  // namespace

TEST_CASE("a stack from the heap is not found by address, neither from outside nor from inside") {
  Stack stack(options);
  CHECK_FALSE(stack_bounds(stack.floor()));
  CHECK_FALSE(call(stack, [] { return current_stack_bounds(); }));
  CHECK(call(stack, [] { return Stack::trim_current(); }) == std::errc::invalid_argument);
}

TEST_CASE("a stack from the heap ignores the guard that it is asked for, which costs nothing") {
  StackOptions asked = options;
  asked.guard = TiB;
  const std::size_t before = status_bytes("VmSize");
  const Stack stack(asked);
  CHECK(stack.reserved() == options.reserve);
  CHECK((sanitized || status_bytes("VmSize") < before + 256 * MiB));
}

TEST_CASE("a stack from the heap is counted with the other stacks") {
  {
    const Stack first(options);
    const Stack second({.reserve = MiB, .strategy = Strategy::heap});
    CHECK(process_counters().stacks == 2);
    CHECK(process_counters().reserved == 3 * MiB);
    CHECK(process_counters().committed == 3 * MiB);
  }
  CHECK(process_counters().stacks == 0);
  CHECK(process_counters().arenas == 0);
}

TEST_CASE(
    "a growable stack grows when it is called from "
    "a stack of the heap, and also when it calls one") {
  Stack outer(options);
  Stack inner({.reserve = 8 * MiB, .strategy = Strategy::in_handler});
  CHECK(call(outer, [&] { return call(inner, [] { return descend(4 * MiB); }); }) == 0);
  CHECK(call(inner, [&] { return call(outer, [] { return descend(MiB); }); }) == 0);
  CHECK(inner.counters().growth_faults > 0);
}

TEST_CASE("a stack that malloc cannot give is an error, and leaves nothing behind") {
  if (sanitized) {
    return skip("a sanitizer's allocator ends the process instead");
  }
  try {
    const Stack stack({.reserve = 64 * TiB, .strategy = Strategy::heap});
    CHECK(stack.reserved() == 64 * TiB);  // the kernel may lend without limit
  } catch (const std::system_error& error) {
    CHECK(error.code() == std::errc::not_enough_memory);
  }
  CHECK(process_counters().arenas == 0);
}
