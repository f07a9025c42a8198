// Handlers without SA_ONSTACK: how to find them, how to give them the flag, and what happens to
// their signals where a stack has no room.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/machine.hpp>
#include <growstack/handler/pages.hpp>

#include "support/bare_system_call.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

using namespace growstack;
using namespace growstack::testing;

namespace {

volatile sig_atomic_t delivered = 0;
void count_delivery(int) { delivered = delivered + 1; }

struct sigaction counting(int flags = 0) {
  struct sigaction action {};
  action.sa_handler = count_delivery;
  action.sa_flags = flags;
  return action;
}

std::vector<int> members(const sigset_t& signals) {
  std::vector<int> found;
  for (int signal = 1; signal <= 64; ++signal) {
    // glibc's sigismember() also knows the two signals that glibc keeps for itself.
    if (sigismember(&signals, signal) == 1) {
      found.push_back(signal);
    }
  }
  return found;
}

sigset_t only(int signal) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, signal);
  return signals;
}

bool without_onstack(int signal) {
  const sigset_t found = handler::handlers_without_onstack();
  return sigismember(&found, signal) == 1;
}

}  // namespace

// ---- finding them -------------------------------------------------------------------------------

GROWSTACK_SCENARIO("list handlers") {
  const struct sigaction plain = counting();
  const struct sigaction proper = counting(SA_ONSTACK);
  sigaction(SIGUSR1, &plain, nullptr);
  sigaction(SIGUSR2, &proper, nullptr);
  sigaction(SIGRTMIN + 3, &plain, nullptr);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGTERM, SIG_DFL);
  const Stack stack;  // installs our handler, which has SA_ONSTACK
  const std::vector<int> found = members(handler::handlers_without_onstack());
  return found == std::vector<int>{SIGUSR1, SIGRTMIN + 3} ? 7 : 1;
}

TEST_CASE(
    "handlers without SA_ONSTACK are found, and no handlers with it and no ignored or default "
    "signals") {
  if (sanitized) {
    return skip("a sanitizer installs handlers of its own");
  }
  CHECK(run_scenario("list handlers").exit_code == 7);
}

namespace {

/// An action as the kernel has it, in the kernel's own layout.
struct KernelAction {
  unsigned long handler;
  unsigned long flags;
  unsigned long restorer;
  unsigned long mask;
};

KernelAction kernel_action(int signal) {
  KernelAction action{};
  bare_system_call(SYS_rt_sigaction, signal, 0, reinterpret_cast<long>(&action), 8);
  return action;
}

}  // namespace

GROWSTACK_SCENARIO("libc's own signals") {
  // glibc installs a handler for 32 at the first pthread_cancel, and for 33 with the first thread.
  // Its version decides which of them has the flag. Here the flag is taken away from both.
  std::thread sleeper([] { pause(); });
  pthread_cancel(sleeper.native_handle());
  sleeper.join();
  for (const int signal : {32, 33}) {
    KernelAction action = kernel_action(signal);
    action.flags &= ~static_cast<unsigned long>(SA_ONSTACK);
    bare_system_call(SYS_rt_sigaction, signal, reinterpret_cast<long>(&action), 0, 8);
  }
  return members(handler::handlers_without_onstack()) == std::vector<int>{32, 33} ? 7 : 1;
}

TEST_CASE("libc's own signals are found, although its sigaction hides them") {
  if (sanitized) {
    return skip("a sanitizer intercepts cancellation and has handlers of its own");
  }
  CHECK(run_scenario("libc's own signals").exit_code == 7);
}

// ---- giving them the flag -----------------------------------------------------------------------

GROWSTACK_SCENARIO("add the flag") {
  struct sigaction before = counting(SA_RESTART | SA_NODEFER);
  sigaddset(&before.sa_mask, SIGTERM);
  sigaddset(&before.sa_mask, SIGRTMAX);
  sigaction(SIGUSR1, &before, nullptr);
  if (handler::add_onstack(only(SIGUSR1)) != 0) {
    return 1;
  }
  struct sigaction after {};
  sigaction(SIGUSR1, nullptr, &after);
  const bool kept =
      after.sa_handler == before.sa_handler && sigismember(&after.sa_mask, SIGTERM) == 1 &&
      sigismember(&after.sa_mask, SIGRTMAX) == 1 && sigismember(&after.sa_mask, SIGUSR2) == 0;
  const int flags = after.sa_flags & (SA_RESTART | SA_NODEFER | SA_ONSTACK | SA_SIGINFO |
                                      static_cast<int>(SA_RESETHAND));
  raise(SIGUSR1);
  raise(SIGUSR1);
  return kept && flags == (SA_RESTART | SA_NODEFER | SA_ONSTACK) && delivered == 2 &&
                 !without_onstack(SIGUSR1)
             ? 7
             : 2;
}

TEST_CASE("adding SA_ONSTACK keeps the handler, its mask and its other flags") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer stands in front of every handler, with flags of its own");
  }
  CHECK(run_scenario("add the flag").exit_code == 7);
}

GROWSTACK_SCENARIO("only those asked for") {
  const struct sigaction plain = counting();
  sigaction(SIGUSR1, &plain, nullptr);
  sigaction(SIGUSR2, &plain, nullptr);
  signal(SIGPIPE, SIG_IGN);
  sigset_t asked = only(SIGUSR1);
  sigaddset(&asked, SIGPIPE);
  sigaddset(&asked, SIGTERM);
  if (handler::add_onstack(asked) != 0) {
    return 1;
  }
  struct sigaction ignored {};
  sigaction(SIGPIPE, nullptr, &ignored);
  struct sigaction untouched {};
  sigaction(SIGTERM, nullptr, &untouched);
  const bool right = !without_onstack(SIGUSR1) && without_onstack(SIGUSR2) &&
                     ignored.sa_handler == SIG_IGN && untouched.sa_handler == SIG_DFL &&
                     (untouched.sa_flags & SA_ONSTACK) == 0;
  return right ? 7 : 2;
}

TEST_CASE(
    "handlers that nobody asked for stay as they are, and so do ignored and default signals") {
  CHECK(run_scenario("only those asked for").exit_code == 7);
}

namespace {

volatile std::uintptr_t noted_by_collector = 0;
volatile std::uintptr_t noted_by_other = 0;

/// Notes its own stack pointer, as the handler does by which a collector stops a thread.
void stop_for_collector(int) { noted_by_collector = GROWSTACK_HERE; }
void other(int) { noted_by_other = GROWSTACK_HERE; }

}  // namespace

GROWSTACK_SCENARIO("all but one") {
  struct sigaction action {};
  action.sa_handler = stop_for_collector;
  sigaction(SIGPWR, &action, nullptr);
  action.sa_handler = other;
  sigaction(SIGUSR1, &action, nullptr);

  sigset_t signals = handler::handlers_without_onstack();
  sigdelset(&signals, SIGPWR);
  if (handler::add_onstack(signals) != 0) {
    return 1;
  }
  Stack stack({.reserve = 6 * MiB});
  call(stack, [] {
    raise(SIGPWR);
    raise(SIGUSR1);
  });
  const bool right = stack_bounds(reinterpret_cast<void*>(noted_by_collector)).has_value() &&
                     !stack_bounds(reinterpret_cast<void*>(noted_by_other)).has_value();
  return right && without_onstack(SIGPWR) && !without_onstack(SIGUSR1) ? 7 : 2;
}

TEST_CASE("a handler that was left out of the set goes on to note the stack that it interrupted") {
  if (sanitized) {
    return skip("a sanitizer stands in front of every handler, with a stack of its own choice");
  }
  CHECK(run_scenario("all but one").exit_code == 7);
}

GROWSTACK_SCENARIO("all that are found") {
  const struct sigaction plain = counting();
  for (int signal = SIGRTMIN; signal <= SIGRTMAX; ++signal) {
    sigaction(signal, &plain, nullptr);
  }
  std::thread sleeper([] { pause(); });
  pthread_cancel(sleeper.native_handle());
  sleeper.join();
  if (handler::add_onstack(handler::handlers_without_onstack()) != 0) {
    return 1;
  }
  // Cancellation still works with the flag, which libc did not set.
  std::thread another([] { pause(); });
  pthread_cancel(another.native_handle());
  another.join();
  return members(handler::handlers_without_onstack()).empty() ? 7 : 2;
}

TEST_CASE("all handlers that are found can be given the flag at once, libc's own included") {
  if (sanitized) {
    return skip("a sanitizer intercepts cancellation");
  }
  CHECK(run_scenario("all that are found").exit_code == 7);
}

GROWSTACK_SCENARIO("everything and nothing") {
  sigset_t all;
  sigfillset(&all);
  sigset_t none;
  sigemptyset(&none);
  return handler::add_onstack(all) == 0 && handler::add_onstack(none) == 0 ? 7 : 1;
}

TEST_CASE(
    "neither a set of all signals, SIGKILL and SIGSTOP included, nor an empty set is an error") {
  CHECK(run_scenario("everything and nothing").exit_code == 7);
}

// ---- what it is good for ------------------------------------------------------------------------

namespace {

/// Sends a signal to this thread while its stack pointer is close above the limit. Uses no stack.
void signal_close_above_limit(const Stack& stack) {
  const long thread = gettid();
  at_stack_pointer(reinterpret_cast<std::uintptr_t>(stack.limit()) + 700,
                   [thread] { bare_system_call(SYS_tkill, thread, SIGUSR1); });
}

template <bool with_flag>
int interrupted_close_above_limit(const Traits& of) {
  const struct sigaction plain = counting();
  sigaction(SIGUSR1, &plain, nullptr);
  if (with_flag && handler::add_onstack(handler::handlers_without_onstack()) != 0) {
    return 1;
  }
  Stack stack({.reserve = 6 * MiB,
               .policy = {.headroom = 0},
               .strategy = of.strategy,
               .name = "interrupted"});
  call(stack, [&] {
    signal_close_above_limit(stack);
    static_cast<void>(descend(200 * KiB));  // moves the limit
    signal_close_above_limit(stack);
  });
  std::printf("%d delivered, %d lost\n", static_cast<int>(delivered),
              static_cast<int>(handler::counters().lost_signal_frame));
  return 0;
}
const ScenarioOfEach<interrupted_close_above_limit<false>> interrupted_without_flag(
    "interrupted without the flag");
const ScenarioOfEach<interrupted_close_above_limit<true>> interrupted_with_flag(
    "interrupted with the flag");

}  // namespace

STRATEGIES_WHERE(traits.grows_by != 0,
                 "close above the limit a signal arrives if its handler was given SA_ONSTACK") {
  if (sanitized) {
    return skip("a sanitizer's own frames need more than is left above the limit");
  }
  const Ended ended = run_scenario_of("interrupted with the flag", Of::traits);
  CHECK(ended.out == "2 delivered, 0 lost\n");
  CHECK(ended.err == "");
}

STRATEGIES_WHERE(traits.grows_by != 0,
                 "close above the limit a signal without SA_ONSTACK is lost, counted, and reported "
                 "once with the name and the cure") {
  if (sanitized) {
    return skip("a sanitizer's own frames need more than is left above the limit");
  }
  const Ended ended = run_scenario_of("interrupted without the flag", Of::traits);
  CHECK(ended.out == "0 delivered, 2 lost\n");
  CHECK(ended.err.starts_with("growstack: a signal was lost"));
  CHECK(contains(ended.err, "\"interrupted\""));
  CHECK(contains(ended.err, "SA_ONSTACK"));
  CHECK(ended.err.find('\n') == ended.err.size() - 1);
}

namespace {

/// Sends a signal in the first frame that runs on a stack with the smallest initial commit.
int signal_at_entry(const Traits& of) {
  const struct sigaction plain = counting();
  sigaction(SIGUSR1, &plain, nullptr);
  Stack stack({.reserve = 6 * MiB,
               .policy = {.initial_commit = 1, .headroom = 0},
               .strategy = of.strategy});
  const long thread = gettid();
  for (int round = 0; round < 3; ++round) {
    call(stack, [thread] { bare_system_call(SYS_tkill, thread, SIGUSR1); });
    if (of.trims && stack.trim()) {
      return 2;
    }
  }
  const bool all = delivered == 3 && handler::counters().lost_signal_frame == 0 &&
                   stack.counters().growth_faults == 0;
  return all ? 7 : 1;
}
const ScenarioOfEach<signal_at_entry> signals_at_entry("signal at entry");

}  // namespace

EVERY_STRATEGY(
    "a stack with one committed page has room for a signal without SA_ONSTACK in the first frame "
    "of a call") {
  if (sanitized) {
    return skip("a sanitizer's own frames need more than is left above the limit");
  }
  const Ended ended = run_scenario_of("signal at entry", Of::traits);
  CHECK(ended.exit_code == 7);
  CHECK(ended.err == "");
}
