// Who owns a stack: release() and adopt(), for programs that keep nothing but an address.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/stack_pool.hpp>

#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/pools.hpp"
#include "support/units.hpp"

#include <string>
#include <thread>
#include <utility>

using namespace growstack;
using namespace growstack::testing;

STRATEGIES_WHERE(traits.own_address_space,
                 "a stack that was released can be adopted by any of its addresses") {
  const std::size_t before = process_counters().stacks;
  for (const bool by_base : {false, true}) {
    Stack stack({.reserve = 4 * MiB, .strategy = Of::strategy, .name = "kept"});
    const char* const last = static_cast<const char*>(stack.base()) - 1;
    void* const floor = stack.floor();
    CHECK(stack.release() == floor);
    CHECK(process_counters().stacks == before + 1);

    Stack again = Stack::adopt(by_base ? static_cast<const void*>(last) : floor);
    CHECK(again.name() == "kept");
    CHECK(again.strategy() == Of::strategy);
    CHECK(call(again, [] { return descend(3 * MiB); }) == 0);
  }
  CHECK(process_counters().stacks == before);
}

EVERY_POOL(
    "a released stack of a pool goes back to the pool when "
    "it was adopted and ends, on whichever thread that is") {
  StackPool pool(options_for(Of::strategy));
  const void* const floor = pool.acquire("lent").release();
  CHECK(pool.statistics().live == 1);
  std::thread([floor] { static_cast<void>(Stack::adopt(floor)); }).join();
  CHECK(pool.statistics().live == 0);
}

TEST_CASE("a stack that was released can be assigned to, like a moved-from stack") {
  Stack stack;
  static_cast<void>(Stack::adopt(stack.release()));
  Stack other;
  stack = std::move(other);
  CHECK(stack.reserved() > 0);
}

TEST_CASE("addresses in no stack are refused, and so are addresses in a guard") {
  const Stack stack;
  int local = 0;
  for (const void* const address :
       {static_cast<const void*>(&local), static_cast<const void*>(nullptr),
        static_cast<const void*>(static_cast<const char*>(stack.floor()) - 1)}) {
    CHECK(contains(error_of([&] { static_cast<void>(Stack::adopt(address)); }),
                   "the address lies in no stack"));
  }
}

TEST_CASE("a stack from the heap cannot be released, and its owner keeps it") {
  Stack stack({.reserve = MiB, .strategy = Strategy::heap});
  CHECK(contains(error_of([&] { stack.release(); }), "heap: no address leads back"));
  CHECK(call(stack, [] { return descend(MiB / 2); }) == 0);
}
