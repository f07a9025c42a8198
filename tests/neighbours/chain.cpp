// Other signal handlers in the process: those that stand over ours, those that call ours, those
// that raise a signal again. Growth goes on, and crashes stay whose they are.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/ucontext.hpp>

#include <boost/context/fiber.hpp>

#include "support/alternate_stack.hpp"
#include "support/each_strategy.hpp"
#include "support/recursion.hpp"
#include "support/scenario.hpp"
#include "support/supervised.hpp"
#include "support/units.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csetjmp>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <utility>

using namespace growstack;
using namespace growstack::testing;

namespace {

constexpr std::size_t frames = 20'000;
const StackOptions roomy{.reserve = 64 * MiB, .name = "roomy"};

using Handler = void (*)(int, siginfo_t*, void*);

struct sigaction action_of(Handler handler, int flags = 0) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | flags;
  return action;
}

/// Installs a handler for both signals by which stacks grow.
void install_both(Handler handler, int flags = 0) {
  const struct sigaction action = action_of(handler, flags);
  sigaction(SIGSEGV, &action, nullptr);
  sigaction(SIGBUS, &action, nullptr);
}

/// What is wrong if it is called for a growth fault.
void exit_22(int, siginfo_t*, void*) { _exit(22); }

StackOptions options_of(const Traits& traits) {
  return {.reserve = 64 * MiB, .strategy = traits.strategy, .name = "neighbour"};
}

bool grows(Stack& stack) {
  return call(stack, [] { return recurse(frames); }) == frames;
}

void crash() {
  volatile char* nowhere = nullptr;
  asm volatile("" : "+r"(nowhere));
  *nowhere = 1;
}

}  // namespace

// ---- handlers that stand over ours --------------------------------------------------------------

namespace {

/// What test frameworks do around each test case: a handler of their own, and what was there back.
class HandlerForACase {
 public:
  explicit HandlerForACase(Handler handler) {
    const struct sigaction action = action_of(handler);
    sigaction(SIGSEGV, &action, &segv_);
    sigaction(SIGBUS, &action, &bus_);
  }
  ~HandlerForACase() {
    sigaction(SIGSEGV, &segv_, nullptr);
    sigaction(SIGBUS, &bus_, nullptr);
  }
  HandlerForACase(const HandlerForACase&) = delete;
  HandlerForACase& operator=(const HandlerForACase&) = delete;

 private:
  struct sigaction segv_ {};
  struct sigaction bus_ {};
};

int grow_in_three_cases(const Traits& traits, bool made_before) {
  std::optional<Stack> stack;
  if (made_before) {
    stack.emplace(options_of(traits));
  }
  for (int round = 0; round < 3; ++round) {
    const HandlerForACase framework(exit_22);
    if (!made_before) {
      stack.emplace(options_of(traits));
    }
    if (!grows(*stack)) {
      return 1;
    }
    static_cast<void>(stack->trim());
  }
  return 7;
}

const ScenarioOfEach<[](const Traits& traits) { return grow_in_three_cases(traits, false); }>
    in_each_case("a stack made in each case");
const ScenarioOfEach<[](const Traits& traits) { return grow_in_three_cases(traits, true); }>
    before_all_cases("a stack made before all cases");

const ScenarioOfEach<[](const Traits& traits) {
  StackPool pool({.strategy = traits.strategy});
  for (int round = 0; round < 3; ++round) {
    const HandlerForACase framework(exit_22);
    Stack stack = pool.acquire();
    if (!grows(stack)) {
      return 1;
    }
  }
  return 7;
}>
    pool_before_all_cases("a pool made before all cases");

const ScenarioOfEach<[](const Traits& traits) {
  for (int round = 0; round < 3; ++round) {
    const HandlerForACase framework(exit_22);
    std::size_t result = 0;
    Thread(options_of(traits), [&] { result = recurse(frames); }).join();
    if (result != frames) {
      return 1;
    }
  }
  return 7;
}>
    thread_in_each_case("a thread in each case");

}  // namespace

namespace {

const ScenarioOfEach<[](const Traits& traits) {
  StackPool pool({.strategy = traits.strategy});
  static_cast<void>(pool.acquire());  // so that it is warm
  for (int round = 0; round < 3; ++round) {
    const HandlerForACase framework(exit_22);
    std::size_t result = 0;
    Thread(pool.acquire(), [&] { result = recurse(frames); }).join();
    if (result != frames) {
      return 1;
    }
  }
  return 7;
}>
    thread_on_warm_stack("a thread on a warm stack");

const ScenarioOfEach<[](const Traits& traits) {
  Stack stack(options_of(traits));
  for (int round = 0; round < 3; ++round) {
    const HandlerForACase framework(exit_22);
    static ucontext_t here;
    ucontext_t there{};
    std::size_t result = 0;
    make_context(
        there, stack, [](void* to) { *static_cast<std::size_t*>(to) = recurse(frames); }, &result,
        &here);
    swapcontext(&here, &there);
    if (result != frames) {
      return 1;
    }
    static_cast<void>(stack.trim());
  }
  return 7;
}>
    context_in_each_case("a context in each case");

}  // namespace

STRATEGIES_WHERE(traits.grows_by != 0, "a framework may install its handler around each case") {
  for (const char* const what : {"a stack made in each case", "a stack made before all cases",
                                 "a pool made before all cases", "a thread in each case",
                                 "a thread on a warm stack", "a context in each case"}) {
    CAPTURE(what);
    const Ended ended = run_scenario_of(what, Of::traits);
    CAPTURE(ended.err);
    CHECK(ended.exit_code == 7);
  }
}

GROWSTACK_SCENARIO("a crash in a framework's case") {
  Stack stack(roomy);
  const HandlerForACase framework(exit_22);
  call(stack, [] { crash(); });
  return 1;
}

TEST_CASE("a crash still reaches the handler that the framework installed over ours") {
  CHECK(run_scenario("a crash in a framework's case").exit_code == 22);
}

GROWSTACK_SCENARIO("what a framework put back is ours") {
  no_core();
  Stack stack(roomy);
  {
    const HandlerForACase framework(exit_22);
    grows(stack);
  }
  if (!handler::installed()) {
    return 1;
  }
  call(stack, [] { crash(); });
  return 2;
}

TEST_CASE("after the framework has put our handler back, a crash does not reach the framework's") {
  CHECK(run_scenario("what a framework put back is ours").signal == SIGSEGV);
}

namespace {

struct sigaction found_by_second;
struct sigaction found_by_third;

template <const struct sigaction& found>
void say_and_call(int signal, siginfo_t* info, void* context) {
  static_cast<void>(write(STDOUT_FILENO, &found == &found_by_second ? "2" : "3", 1));
  found.sa_sigaction(signal, info, context);
}

}  // namespace

GROWSTACK_SCENARIO("handlers that call what they found") {
  install_both([](int, siginfo_t*, void*) {
    static_cast<void>(write(STDOUT_FILENO, "1", 1));
    _exit(22);
  });
  Stack stack(roomy);
  const struct sigaction second = action_of(say_and_call<found_by_second>);
  sigaction(SIGSEGV, &second, &found_by_second);
  grows(stack);
  const struct sigaction third = action_of(say_and_call<found_by_third>);
  sigaction(SIGSEGV, &third, &found_by_third);
  grows(stack);
  call(stack, [] { crash(); });
  return 1;
}

TEST_CASE("each of the handlers that stand over ours, and call it, gets a crash once, in order") {
  const Ended ended = run_scenario("handlers that call what they found");
  CHECK(ended.out == "321");
  CHECK(ended.exit_code == 22);
}

namespace {

/// Has as many different handlers as there are numbers.
template <int number>
void numbered(int, siginfo_t*, void*) {
  _exit(30 + number);
}

template <int... numbers>
bool grows_under_each(Stack& stack, std::integer_sequence<int, numbers...>) {
  return ((install_both(numbered<numbers>), grows(stack)) && ...);
}

}  // namespace

GROWSTACK_SCENARIO("one handler after the other") {
  Stack stack(roomy);
  if (!grows_under_each(stack, std::make_integer_sequence<int, 20>())) {
    return 1;
  }
  call(stack, [] { crash(); });
  return 2;
}

TEST_CASE("more handlers than we have levels may stand over ours, and the last gets a crash") {
  CHECK(run_scenario("one handler after the other").exit_code == 30 + 19);
}

namespace {

void (*handler_of_kernel())(int, siginfo_t*, void*) {
  struct sigaction now {};
  sigaction(SIGSEGV, nullptr, &now);
  return now.sa_sigaction;
}

}  // namespace

GROWSTACK_SCENARIO("installed several times") {
  Stack stack(roomy);
  const Handler first = handler_of_kernel();
  require(handler::install() == 0 && handler_of_kernel() == first, "ours is not put over ours");
  install_both(exit_22);
  require(grows(stack), "over another handler");
  const Handler second = handler_of_kernel();
  for (int times = 0; times < 3; ++times) {
    install_both(exit_22);
    require(grows(stack) && handler_of_kernel() == second, "one level for the same handler");
  }
  return second != first ? 7 : 1;
}

TEST_CASE(
    "neither ours nor the same handler of another takes a second level, of which there are few") {
  const Ended ended = run_scenario("installed several times");
  CAPTURE(ended.err);
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("nothing put back") {
  Stack stack(roomy);
  for (int round = 0; round < 3; ++round) {
    signal(SIGSEGV, round == 1 ? SIG_IGN : SIG_DFL);
    if (!grows(stack)) {
      return 1;
    }
  }
  return 7;
}

TEST_CASE("a call installs our handler anew if somebody has set the default action or SIG_IGN") {
  CHECK(run_scenario("nothing put back").exit_code == 7);
}

GROWSTACK_SCENARIO("uninstall under a handler") {
  install_both(exit_22);
  {
    Stack stack(roomy);
    install_both(numbered<1>);
    grows(stack);
  }
  const int in_use = handler::uninstall();  // the second handler may have kept ours
  struct sigaction now {};
  sigaction(SIGSEGV, nullptr, &now);
  return in_use == EPERM && now.sa_sigaction == &numbered<1> ? 7 : 1;
}

TEST_CASE("uninstall puts back what stood over ours, and says that it may call ours") {
  CHECK(run_scenario("uninstall under a handler").exit_code == 7);
}

// ---- handlers that another thread installs meanwhile --------------------------------------------

namespace {

/// Makes a stack, and calls `meanwhile` in another thread right before the kernel gets our handler.
void make_stack_while(const std::function<void()>& meanwhile) {
  bool has_been = false;
  supervise(
      {{.number = SYS_rt_sigaction, .argument = SIGSEGV}},
      [&](const seccomp_data& asked) {
        if (asked.args[1] != 0 && !std::exchange(has_been, true)) {
          meanwhile();
        }
        return Answer{};
      },
      [] { const Stack stack(roomy); });
  require(has_been, "our handler is installed");
}

}  // namespace

GROWSTACK_SCENARIO("a handler of another thread") {
  make_stack_while([] { install_both(exit_22); });
  Stack stack(roomy);
  require(grows(stack), "a stack grows");
  call(stack, [] { crash(); });
  return 1;
}

TEST_CASE("a handler that another thread installs while ours goes over the old one gets a crash") {
  const Ended ended = run_scenario("a handler of another thread");
  if (ended.exit_code == no_filters) {
    return skip("seccomp filters are not available");
  }
  CAPTURE(ended.err);
  CHECK(ended.exit_code == 22);
}

GROWSTACK_SCENARIO("another thread puts ours back") {
  no_core();
  Stack stack(roomy);
  struct sigaction ours {};
  sigaction(SIGSEGV, nullptr, &ours);
  install_both(exit_22);
  make_stack_while([&] { sigaction(SIGSEGV, &ours, nullptr); });
  require(handler_of_kernel() == ours.sa_sigaction, "what the other thread set stays");
  require(grows(stack), "a stack grows");
  call(stack, [] { crash(); });
  return 1;
}

TEST_CASE("a handler from which another thread goes back to ours meanwhile gets no crash") {
  const Ended ended = run_scenario("another thread puts ours back");
  if (ended.exit_code == no_filters) {
    return skip("seccomp filters are not available");
  }
  CAPTURE(ended.err);
  CHECK(ended.signal == SIGSEGV);
}

// ---- what nobody looks at -----------------------------------------------------------------------

namespace {

void block_faults() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
}

void take_signal_stack_away() { take_alternate_stack_away(); }

template <void (*take_away)()>
int grow_after(const Traits& traits, bool by_call) {
  no_core();
  Stack stack(options_of(traits));
  if (by_call) {
    take_away();
    return grows(stack) ? 7 : 1;
  }
  return call(stack, [] {
    take_away();
    return recurse(frames) == frames ? 1 : 2;
  });
}

const ScenarioOfEach<[](const Traits& traits) { return grow_after<block_faults>(traits, true); }>
    blocked_before("blocked before the call");
const ScenarioOfEach<[](const Traits& traits) { return grow_after<block_faults>(traits, false); }>
    blocked_within("blocked within the call");
const ScenarioOfEach<[](const Traits& traits) {
  return grow_after<take_signal_stack_away>(traits, true);
}>
    no_stack_before("no signal stack before the call");
const ScenarioOfEach<[](const Traits& traits) {
  return grow_after<take_signal_stack_away>(traits, false);
}>
    no_stack_within("no signal stack within the call");

const ScenarioOfEach<[](const Traits& traits) {
  no_core();
  struct sigaction action {};
  action.sa_handler = [](int) { recurse(frames); };
  sigfillset(&action.sa_mask);
  sigaction(SIGUSR1, &action, nullptr);
  Stack stack(options_of(traits));
  call(stack, [] { raise(SIGUSR1); });
  return 1;
}>
    full_mask("a handler with a full mask");

}  // namespace

STRATEGIES_WHERE(traits.grows_by != 0,
                 "a call puts right what blocks a growth, and growth without a call dies of it") {
  CHECK(run_scenario_of("blocked before the call", Of::traits).exit_code == 7);
  CHECK(run_scenario_of("blocked within the call", Of::traits).signal == Of::traits.grows_by);
  CHECK(run_scenario_of("no signal stack before the call", Of::traits).exit_code == 7);
  // The kernel finds no place for the handler's frame, whatever the signal.
  CHECK(run_scenario_of("no signal stack within the call", Of::traits).signal == SIGSEGV);
}

STRATEGIES_WHERE(traits.grows_by != 0,
                 "a handler whose mask has every signal dies at its first growth") {
  CHECK(run_scenario_of("a handler with a full mask", Of::traits).signal == Of::traits.grows_by);
}

namespace {

const ScenarioOfEach<[](const Traits& traits) {
  StackPool pool({.strategy = traits.strategy});
  static_cast<void>(pool.acquire());  // so that it is warm
  const HandlerForACase framework(exit_22);
  Stack stack = pool.acquire();
  namespace context = boost::context;
  context::stack_context whole;
  whole.sp = stack.base();
  whole.size = stack.reserved();
  struct Borrowed {
    void deallocate(context::stack_context&) const noexcept {}
  };
  context::fiber there(std::allocator_arg, context::preallocated(whole.sp, whole.size, whole),
                       Borrowed{}, [](context::fiber&& back) {
                         recurse(frames);
                         return std::move(back);
                       });
  there = std::move(there).resume();
  return 1;
}>
    warm_fiber("a fiber on a warm stack");

}  // namespace

STRATEGIES_WHERE(traits.grows_by != 0 && traits.pools,
                 "a fiber on a warm pooled stack dies under a framework's handler") {
  CHECK(run_scenario_of("a fiber on a warm stack", Of::traits).exit_code == 22);
}

// ---- handlers that call each other --------------------------------------------------------------

namespace {

void install_twice_and_crash(int flags) {
  no_core();
  alarm(30);
  Stack stack(roomy);
  const struct sigaction second = action_of(say_and_call<found_by_second>, flags);
  sigaction(SIGSEGV, &second, &found_by_second);
  grows(stack);                                   // ours stands over it now
  sigaction(SIGSEGV, &second, &found_by_second);  // so it calls ours, which calls it
  grows(stack);
  call(stack, [] { crash(); });
}

}  // namespace

GROWSTACK_SCENARIO("a circle") {
  install_twice_and_crash(0);
  return 1;
}
GROWSTACK_SCENARIO("a circle of handlers that may be interrupted") {
  install_twice_and_crash(SA_NODEFER);
  return 1;
}

TEST_CASE(
    "a crash ends the process, with one line about it, where ours and another call each other") {
  for (const char* const what : {"a circle", "a circle of handlers that may be interrupted"}) {
    CAPTURE(what);
    const Ended ended = run_scenario(what);
    CHECK(ended.signal == SIGSEGV);
    CHECK(ended.out == "2");
    CHECK(matches(ended.err, "^growstack: a fault that is not growstack's came back.*\n$"));
  }
}

GROWSTACK_SCENARIO("crashes that a handler survives") {
  static sigjmp_buf back;
  install_both([](int, siginfo_t*, void*) { siglongjmp(back, 1); });
  Stack stack(roomy);
  volatile int survived = 0;
  for (int round = 0; round < 100; ++round) {
    if (sigsetjmp(back, 1) == 0) {
      crash();
    }
    survived = survived + 1;
  }
  return survived == 100 && grows(stack) ? 7 : 1;
}

GROWSTACK_SCENARIO("a crash that a handler survives, and a handler over it") {
  static sigjmp_buf back;
  install_both([](int, siginfo_t*, void*) { siglongjmp(back, 1); });
  Stack stack(roomy);
  volatile int survived = 0;
  if (sigsetjmp(back, 1) == 0) {
    crash();
  }
  survived = survived + 1;
  const struct sigaction second = action_of(say_and_call<found_by_second>);
  sigaction(SIGSEGV, &second, &found_by_second);
  while (survived < 11) {
    if (sigsetjmp(back, 1) == 0) {
      crash();
    }
    survived = survived + 1;
  }
  return survived == 11 && grows(stack) ? 7 : 1;
}

TEST_CASE("a handler that jumped away leaves nothing that a later crash is taken for") {
  const Ended ended = run_scenario("a crash that a handler survives, and a handler over it");
  CHECK(ended.exit_code == 7);
  CHECK(ended.err.empty());
}

TEST_CASE("a fault at the same place as one whose handler jumped away is not one that came back") {
  CHECK(run_scenario("crashes that a handler survives").exit_code == 7);
}

// ---- handlers that raise the signal again -------------------------------------------------------

namespace {

struct sigaction found_segv;
struct sigaction found_bus;
enum class Way { to_thread, raised, to_process, queued };
Way way_to_raise;

void raise_again(int signal) {
  switch (way_to_raise) {
    case Way::to_thread:
      pthread_kill(pthread_self(), signal);
      break;
    case Way::raised:
      raise(signal);
      break;
    case Way::to_process:
      kill(getpid(), signal);
      break;
    case Way::queued:
      sigqueue(getpid(), signal, {});
      break;
  }
}

/// A crash reporter of the common kind: it says that it was called, puts back what it found and
/// raises the signal again.
void report_and_raise(int signal, siginfo_t*, void*) {
  static_cast<void>(write(STDOUT_FILENO, "!", 1));
  sigaction(signal, signal == SIGBUS ? &found_bus : &found_segv, nullptr);
  raise_again(signal);
}

void install_reporter(int flags) {
  const struct sigaction action = action_of(report_and_raise, flags);
  sigaction(SIGSEGV, &action, &found_segv);
  sigaction(SIGBUS, &action, &found_bus);
}

/// Installs the reporter on the stack, where nobody looks, and grows.
int grow_under_reporter(const Traits& traits, int flags) {
  Stack stack(options_of(traits));
  for (const Way way : {Way::to_thread, Way::raised, Way::to_process, Way::queued}) {
    way_to_raise = way;
    const std::size_t result = call(stack, [&] {
      install_reporter(flags);
      return recurse(frames);
    });
    if (result != frames) {
      return 1;
    }
    static_cast<void>(stack.trim());
  }
  return 7;
}

const ScenarioOfEach<[](const Traits& traits) { return grow_under_reporter(traits, 0); }>
    raised_later("raised when the handler has returned");
const ScenarioOfEach<[](const Traits& traits) { return grow_under_reporter(traits, SA_NODEFER); }>
    raised_at_once("raised within the handler");

const ScenarioOfEach<[](const Traits& traits) {
  std::size_t result = 0;
  Thread(options_of(traits), [&] {
    install_reporter(0);
    result = recurse(frames);
  }).join();
  return result == frames ? 7 : 1;
}>
    raised_in_thread("raised in a thread");

}  // namespace

STRATEGIES_WHERE(
    traits.grows_by != 0,
    "a stack grows although a crash reporter got the fault and raised the signal again") {
  for (const char* const what : {"raised when the handler has returned",
                                 "raised within the handler", "raised in a thread"}) {
    CAPTURE(what);
    const Ended ended = run_scenario_of(what, Of::traits);
    CAPTURE(ended.err);
    CHECK(ended.exit_code == 7);
    CHECK(ended.out.size() == (std::string(what) == "raised in a thread" ? 1 : 4));
  }
}

namespace {

const ScenarioOfEach<[](const Traits& traits) {
  no_core();
  Stack stack({.reserve = MiB, .strategy = traits.strategy, .name = "reported"});
  call(stack, [] {
    recurse(1000);
    install_reporter(0);
    return recurse(100'000);
  });
  return 1;
}>
    overflow_under_reporter("overflow under a reporter");

}  // namespace

STRATEGIES_WHERE(traits.grows_by != 0 && traits.guarded,
                 "an overflow is reported although another handler got it and raised it again") {
  const Ended ended = run_scenario_of("overflow under a reporter", Of::traits);
  CHECK(ended.signal != 0);
  CHECK(contains(ended.err, "growstack: stack overflow"));
  CHECK(contains(ended.err, "\"reported\""));
}

namespace {

const ScenarioOfEach<[](const Traits& traits) {
  no_core();
  Stack stack(options_of(traits));
  call(stack, [&] {
    recurse(frames);  // the last fault was one of growth, and is served
    raise(traits.grows_by);
  });
  return 1;
}>
    raise_after_growth("a signal raised after growth");

}  // namespace

namespace {

const ScenarioOfEach<[](const Traits& traits) {
  no_core();
  Stack stack(options_of(traits));
  grows(stack);
  static_cast<void>(stack.trim());  // what was grown last is not committed any more
  raise(traits.grows_by);
  return 1;
}>
    raise_after_trim("a signal raised after a trim");

const ScenarioOfEach<[](const Traits& traits) {
  no_core();
  StackPool pool({.reserve = 64 * MiB, .strategy = traits.strategy});
  for (int request = 0; request < 2; ++request) {
    Stack stack = pool.acquire();
    call(stack, [&] {
      if (request == 1) {
        raise(traits.grows_by);
      }
      return recurse(frames);
    });
  }
  return 1;
}>
    raise_on_pooled("a signal raised on a stack that was given back");

}  // namespace

STRATEGIES_WHERE(traits.grows_by != 0, "a signal that is raised after a growth kills as always") {
  for (const char* const what : {"a signal raised after growth", "a signal raised after a trim",
                                 "a signal raised on a stack that was given back"}) {
    CAPTURE(what);
    const Ended ended = run_scenario_of(what, Of::traits);
    CHECK(ended.signal == Of::traits.grows_by);
    CHECK(ended.err.empty());
  }
}
