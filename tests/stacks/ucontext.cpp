// Growable stacks for makecontext and swapcontext.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/units.hpp"

#include <ucontext.h>

#include <csignal>
#include <cstdint>
#include <thread>

using namespace growstack;
using namespace growstack::testing;

namespace {

/// A context that goes deep three times, and returns to its maker each time.
struct Visits {
  ucontext_t here{};
  ucontext_t there{};
  std::size_t wrong = 0;
  int count = 0;

  static void run(void* given) {
    Visits& visits = *static_cast<Visits*>(given);
    for (visits.count = 0; visits.count < 3; ++visits.count) {
      visits.wrong += descend(3 * MiB);
      swapcontext(&visits.there, &visits.here);
    }
  }
};

}  // namespace

EVERY_STRATEGY("a context made by make_context goes deep, comes back, and ends in its successor") {
  const Stack stack({.reserve = 4 * MiB, .strategy = Of::strategy});
  Visits visits;
  make_context(visits.there, stack, &Visits::run, &visits, &visits.here);
  for (int expected = 0; expected < 3; ++expected) {
    swapcontext(&visits.here, &visits.there);
    CHECK(visits.count == expected);
  }
  swapcontext(&visits.here, &visits.there);  // comes back through the successor
  CHECK(visits.count == 3);
  CHECK(visits.wrong == 0);
}

TEST_CASE("a context grows where its maker blocks every signal") {
  const Stack stack({.reserve = 64 * MiB});
  Visits visits;
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  make_context(visits.there, stack, &Visits::run, &visits, &visits.here);
  CHECK(sigismember(&visits.there.uc_sigmask, SIGSEGV) == 0);
  CHECK(sigismember(&visits.there.uc_sigmask, SIGBUS) == 0);  // also while no stack needs it
  sigset_t now;
  pthread_sigmask(SIG_SETMASK, nullptr, &now);
  swapcontext(&visits.here, &visits.there);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  CHECK(visits.wrong == 0);
  CHECK(stack.high_water_mark() > 3 * MiB);
  CHECK(sigismember(&now, SIGTERM) == 1);  // other signals stay blocked
}

TEST_CASE("a context may be resumed by another thread that is attached") {
  const Stack stack({.reserve = 64 * MiB});
  Visits visits;
  make_context(visits.there, stack, &Visits::run, &visits, &visits.here);
  std::thread([&] {
    attach_thread();
    swapcontext(&visits.here, &visits.there);
  }).join();
  CHECK(visits.wrong == 0);
  CHECK(stack.high_water_mark() > 3 * MiB);
}
