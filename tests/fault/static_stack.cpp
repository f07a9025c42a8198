// Stacks with static storage, which install the handler before main(). These tests have an
// executable of their own because of what is in force when main() begins.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "support/descend.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <initializer_list>

using namespace growstack;
using namespace growstack::testing;

namespace {

constexpr int handled = 9;

/// Installs a handler of the program's own before the library's.
struct HandlerOfTheProgram {
  HandlerOfTheProgram() {
    struct sigaction action {};
    action.sa_handler = [](int) { _exit(handled); };
    sigaction(SIGSEGV, &action, nullptr);
  }
};
const HandlerOfTheProgram handler_of_the_program;

// Of one file, so the program's handler is there before the stacks.
Stack by_automatic({.reserve = 8 * MiB, .strategy = Strategy::automatic});
Stack by_signal({.reserve = 8 * MiB, .strategy = Strategy::in_handler});

}  // namespace

TEST_CASE("stacks that are made before main grow as any others") {
  for (Stack* const stack : {&by_automatic, &by_signal}) {
    CHECK(call(*stack, [] { return descend(4 * MiB); }) == 0);
  }
}

GROWSTACK_SCENARIO("foreign fault after a static stack") {
  no_core();
  volatile std::uintptr_t nowhere = 16;  // volatile, because compilers warn of an address they know
  *reinterpret_cast<volatile char*>(nowhere) = 1;
  return 0;
}

TEST_CASE("a handler that was installed before a static stack gets the faults that are not ours") {
  CHECK(run_scenario("foreign fault after a static stack").exit_code == handled);
}
