// What other code in a process does to a stack while it is in use, asked of every strategy. The
// table of notes/hazards.md is made of these tests and of many others.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/limits.hpp"
#include "support/scenario.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <functional>
#include <string>

using namespace growstack::testing;
using growstack::call;
using growstack::Stack;
using growstack::StackOptions;

namespace {

constexpr std::size_t depth = 3 * MiB;

StackOptions options_of(const Traits& of) { return {.reserve = 4 * MiB, .strategy = of.strategy}; }

/// Runs what a neighbour does on a stack that is still shallow, and then goes deep there. Returns 7
/// if that works, and makes another stack.
int survives(const Traits& of, const std::function<void()>& neighbour) {
  no_core();
  raise_soft_limit(RLIMIT_MEMLOCK);
  for (int time = 0; time < 2; ++time) {
    Stack stack(options_of(of));
    const std::size_t wrong = call(stack, [&] {
      neighbour();
      return descend(depth);
    });
    require(wrong == 0, "what was written is read");
  }
  return 7;
}

/// Checks that a strategy lives if it needs no signal, and that otherwise the kernel kills without
/// a word, because nobody is asked.
void check_needs_signal(const std::string& what, const Traits& of) {
  const Ended ended = run_scenario_of(what, of);
  CAPTURE(ended.err);
  CHECK(ended.err == "");
  if (of.grows_by == 0) {
    CHECK(ended.exit_code == 7);
  } else {
    CHECK(
        (ended.signal == of.grows_by || ended.signal == SIGSEGV));  // no room for a SIGBUS's frame
  }
  std::printf("OUTCOME: %s\n", of.grows_by == 0 ? "works" : "killed");
}

void check_works(const std::string& what, const Traits& of) {
  const Ended ended = run_scenario_of(what, of);
  CAPTURE(ended.err);
  CHECK(ended.err == "");
  CHECK(ended.exit_code == 7);
  std::printf("OUTCOME: works\n");
}

void check_crash(const std::string& what, const Traits& of) {
  const Ended ended = run_scenario_of(what, of);
  CAPTURE(ended.err);
  CHECK(ended.err == "");
  CHECK(ended.signal == SIGSEGV);
  std::printf("OUTCOME: works\n");
}

// ---- signals ------------------------------------------------------------------------------------

int with_signals_blocked(const Traits& of) {
  return survives(of, [] {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, nullptr);
  });
}
const ScenarioOfEach<with_signals_blocked> blocked_scenarios("blocked");

int with_default_action(const Traits& of) {
  return survives(of, [] {
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
  });
}
const ScenarioOfEach<with_default_action> default_action_scenarios("default action");

int without_alternate_stack(const Traits& of) {
  return survives(of, [] {
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    sigaltstack(&none, nullptr);
  });
}
const ScenarioOfEach<without_alternate_stack> no_alternate_scenarios("no alternate stack");

int with_sent_signal(const Traits& of) {
  return survives(of, [] { raise(SIGSEGV); });
}
const ScenarioOfEach<with_sent_signal> sent_scenarios("sent signal");

int with_null_pointer(const Traits& of) {
  return survives(of, [] {
    volatile char* volatile null = nullptr;
    *null = 1;
  });
}
const ScenarioOfEach<with_null_pointer> null_scenarios("null pointer");

// ---- memory -------------------------------------------------------------------------------------

int with_all_memory_locked(const Traits& of) {
  return survives(of,
                  [] { require(mlockall(MCL_CURRENT | MCL_FUTURE) == 0, "memory can be locked"); });
}
const ScenarioOfEach<with_all_memory_locked> locked_scenarios("all memory locked");

// ---- descriptors --------------------------------------------------------------------------------

int with_descriptors_closed(const Traits& of) {
  return survives(of, [] {
    for (int descriptor = 3; descriptor < 100; ++descriptor) {
      close(descriptor);
    }
  });
}
const ScenarioOfEach<with_descriptors_closed> closed_scenarios("descriptors closed");

// ---- handlers of the program --------------------------------------------------------------------

volatile std::size_t wrong_in_handler = 1;

/// A handler that goes deep where it was interrupted.
int with_deep_handler(const Traits& of) {
  return survives(of, [] {
    struct sigaction action {};
    action.sa_handler = [](int) { wrong_in_handler = descend(depth / 2); };
    sigaction(SIGUSR1, &action, nullptr);
    wrong_in_handler = 1;
    raise(SIGUSR1);
    require(wrong_in_handler == 0, "the handler ran, and what it wrote is read");
  });
}
const ScenarioOfEach<with_deep_handler> deep_handler_scenarios("deep handler");

}  // namespace

EVERY_STRATEGY("code that blocks every signal on a stack goes deep, if growth needs no signal") {
  check_needs_signal("blocked", Of::traits);
}

EVERY_STRATEGY("code that sets the default action goes deep, if growth needs no signal") {
  check_needs_signal("default action", Of::traits);
}

EVERY_STRATEGY("code that disables its alternate stack goes deep, if growth needs no signal") {
  check_needs_signal("no alternate stack", Of::traits);
}

EVERY_STRATEGY("a SIGSEGV that is sent to code on a stack kills, with no word from us") {
  check_crash("sent signal", Of::traits);
}

EVERY_STRATEGY("a null pointer on a stack is a crash, with no word from us") {
  check_crash("null pointer", Of::traits);
}

EVERY_STRATEGY("a stack grows although the program locks all its memory meanwhile") {
  if (geteuid() != 0) {
    return skip("only root may lock all memory");
  }
  check_works("all memory locked", Of::traits);
}

EVERY_STRATEGY("a stack grows although the program closes all descriptors meanwhile") {
  check_works("descriptors closed", Of::traits);
}

EVERY_STRATEGY("a signal handler may go deep on the stack that it interrupted") {
  check_works("deep handler", Of::traits);
}
