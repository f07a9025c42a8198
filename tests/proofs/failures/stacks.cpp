// The first stack of a process, growth, and trims.
#include <doctest/doctest.h>

#include "proofs/failures/every_failure.hpp"

using namespace growstack;
using namespace growstack::testing;

namespace {

void first_stack(const Traits& of, const Trial& trial) {
  trial.watch([&] {
    Stack stack(options_of(of));
    trial.require_guard(stack, of);
    go_deep(stack, 200 * KiB, trial);
  });
}

}  // namespace

FAILURES("the first stack", first_stack);
