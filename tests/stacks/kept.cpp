// What is kept for the next call: the stack of the last one. Each promise is tried by processes
// that make calls and threads, and count what is left of them.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/ranges.hpp>
#include <growstack/stack_pool.hpp>
#include <growstack/thread.hpp>

#include "pool/core.hpp"
#include "stacks/stack_access.hpp"
#include "support/address_of.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/limits.hpp"
#include "support/recursion.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <pthread.h>
#include <sys/mman.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace growstack;
using namespace growstack::testing;
using namespace std::chrono_literals;

namespace {

/// After so long without a call, nothing is kept any more: three seconds, and what a slow machine
/// adds.
constexpr auto three_intervals = 3500ms;

StackOptions options_of(const Traits& of) {
  return {.reserve = 4 * MiB, .strategy = of.strategy, .name = "kept"};
}

/// Runs a call that goes some way down. Returns the base of its stack, or 0 if something was wrong.
std::uintptr_t base_of_call(const StackOptions& options, std::size_t depth = 100 * KiB) {
  std::uintptr_t base = 0;
  const std::size_t wrong = call(options, [&] {
    base = address_of(current_stack_bounds()->base);
    return descend(depth);
  });
  return wrong == 0 ? base : 0;
}

/// A test of strategies whose stacks can be kept.
#define KEPT(promise) STRATEGIES_WHERE(traits.pools, promise)

/// Plays a scenario, which returns 7 if the promise holds.
void play(const std::string& what, const Traits& of) {
  const Ended ended = run_scenario_of(what, of);
  CAPTURE(ended.out);
  CAPTURE(ended.err);
  CAPTURE(ended.signal);
  CHECK(ended.exit_code == 7);
}

}  // namespace

// ---- which stack --------------------------------------------------------------------------------

KEPT("a call with equal options runs on the stack of the last call, whatever the name is") {
  StackOptions options = options_of(Of::traits);
  const std::uintptr_t first = base_of_call(options);
  CHECK(first != 0);
  options.name = "another name";
  CHECK(base_of_call(options) == first);
  CHECK_THROWS_AS(call(options, [] { throw std::runtime_error("thrown"); }), std::runtime_error);
  CHECK(base_of_call(options, MiB) == first);
}

KEPT("calls with other options, and calls at the same time, run on other stacks") {
  const StackOptions options = options_of(Of::traits);
  std::set<std::uintptr_t> bases;
  StackOptions others = options;
  others.guard = 128 * KiB;
  bases.insert(base_of_call(others));
  others = options;
  others.policy.least_step = 32 * KiB;
  bases.insert(base_of_call(others));
  call(options, [&] {
    bases.insert(base_of_call(options));
    std::thread([&] { bases.insert(base_of_call(options)); }).join();
    bases.insert(address_of(current_stack_bounds()->base));
  });
  CHECK(bases.count(0) == 0);
  CHECK(bases.size() >= 4);
}

EVERY_STRATEGY("process_counters() counts no idle kept stack") {
  const std::size_t stacks = process_counters().stacks;
  call(options_of(Of::traits), [&] {
    CHECK(process_counters().stacks == stacks + 1);
    return 0;
  });
  CHECK(process_counters().stacks == stacks);
  CHECK(process_counters().reserved == 0);
  trim();
  CHECK(process_counters().committed == 0);
  CHECK(process_counters().arenas == 0);
}

EVERY_STRATEGY("threads that call at once each have a stack of their own") {
  if (skip_because_of_holes(Of::traits)) {
    return;
  }
  constexpr int calls = sanitized ? 50 : 500;
  std::vector<std::thread> threads;
  std::vector<std::size_t> wrong(4, 1);
  for (std::size_t& mine : wrong) {
    threads.emplace_back([&mine] {
      mine = 0;
      for (int times = 0; times < calls; ++times) {
        StackOptions options = options_of(Of::traits);
        options.guard += static_cast<std::size_t>(times % 3) * 64 * KiB;
        mine += call(options, [times] {
          return descend(static_cast<std::size_t>(times % 10) * 10 * KiB + KiB);
        });
        if (times % 50 == 0) {
          trim();
        }
      }
    });
  }
  for (std::thread& each : threads) {
    each.join();
  }
  for (const std::size_t each : wrong) {
    CHECK(each == 0);
  }
}

namespace {

/// Gives each call a name of its own, more than a pool can number.
int named_calls(const Traits& of) {
  no_core();
  StackOptions options = options_of(of);
  for (int number = 0; number < 300; ++number) {
    options.name = "call " + std::to_string(number);
    call(options, [] {});
  }
  options.name = "the last one";
  call(options, recurse, std::size_t{10'000'000});
  return 0;
}
const ScenarioOfEach<named_calls> calls_with_names("named calls");

}  // namespace

STRATEGIES_WHERE(
    traits.pools&& traits.growth_events,
    "the report of an overflow has the name of the call, whoever had the stack before") {
  const Ended ended = run_scenario_of("named calls", Of::traits);
  CAPTURE(ended.err);
  CHECK(ended.signal != 0);
  CHECK(contains(ended.err, "\"the last one\""));
}

// ---- what is left -------------------------------------------------------------------------------

namespace {

struct Left {
  std::size_t ranges = handler::range_count();
  std::size_t mappings = mapping_count();
  std::size_t resident = status_bytes("VmRSS");
  std::size_t charged = charged_bytes();
  std::size_t descriptors = descriptor_count();
  std::size_t threads = thread_count();
};

/// Returns 7 if there is no more than before, but for what malloc keeps.
int compare(const Left& before, const Left& after) {
  const bool good = after.ranges <= before.ranges && after.mappings <= before.mappings + 2 &&
                    after.resident <= before.resident + 128 * KiB &&
                    after.charged <= before.charged + 128 * KiB &&
                    after.descriptors == before.descriptors && after.threads <= before.threads;
  std::printf("ranges %zu %zu, mappings %zu %zu, resident %zu %zu, charged %zu %zu\n",
              before.ranges, after.ranges, before.mappings, after.mappings, before.resident,
              after.resident, before.charged, after.charged);
  std::printf("threads %zu %zu, committed %zu\n", before.threads, after.threads,
              process_counters().committed);
  return good && process_counters().committed == 0 ? 7 : 1;
}

/// What a process has that has made calls, and keeps nothing.
Left after_first_calls(const StackOptions& options) {
  for (int times = 0; times < 2; ++times) {
    base_of_call(options, MiB);
    Thread(options, [] {}).join();
    std::thread([&] { base_of_call(options, MiB); }).join();
    trim();
    static_cast<void>(Left{});  // looking takes memory, too
  }
  return {};
}

int calls_then_nothing(const Traits& of) {
  const StackOptions options = options_of(of);
  const Left before = after_first_calls(options);
  for (int times = 0; times < 300; ++times) {
    call(options, [] { return descend(MiB); });
  }
  call(options, [&] { call(options, [&] { call(options, [] { return descend(MiB); }); }); });
  Thread(options, [] { descend(MiB); }).join();
  require(handler::range_count() > 0, "something is kept");
  std::this_thread::sleep_for(three_intervals);
  return compare(before, {});
}
const ScenarioOfEach<calls_then_nothing> without_any_call("calls, then nothing");

int calls_then_trim(const Traits& of) {
  const StackOptions options = options_of(of);
  const Left before = after_first_calls(options);
  for (int times = 0; times < 100; ++times) {
    call(options, [] { return descend(MiB); });
    std::thread([&] { call(options, [] { return descend(MiB); }); }).join();
  }
  trim();
  return compare(before, {});
}
const ScenarioOfEach<calls_then_trim> trimmed("calls, then trim");

int calls_then_uninstall(const Traits& of) {
  for (int times = 0; times < 3; ++times) {
    require(base_of_call(options_of(of)) != 0, "a call works");
    require(handler::range_count() > 0, "something is kept");
    require(handler::uninstall() == 0, "what is kept does not forbid uninstall()");
    require(handler::range_count() == 0, "nothing is kept");
  }
  return base_of_call(options_of(of)) != 0 ? 7 : 1;
}
const ScenarioOfEach<calls_then_uninstall> uninstalled("calls, then uninstall");

int many_sets_of_options(const Traits& of) {
  StackOptions options = options_of(of);
  std::size_t most = 0;
  for (std::size_t times = 0; times < 60; ++times) {
    options.guard = (times + 1) * 4 * KiB;
    require(base_of_call(options, 50 * KiB) != 0, "a call works");
    most = std::max(most, handler::range_count());
  }
  require(most > 1 && most <= 20, "few pools are kept");
  options.guard = 60 * 4 * KiB;
  const std::uintptr_t last = base_of_call(options);
  options.guard = 4 * KiB;
  require(base_of_call(options) != 0, "options that were forgotten work again");
  options.guard = 60 * 4 * KiB;
  return base_of_call(options) == last ? 7 : 1;
}
const ScenarioOfEach<many_sets_of_options> many_options("many sets of options");

std::size_t nest(StackOptions options, int left) {
  options.guard += 4 * KiB;
  return call(options, [&] { return left == 0 ? descend(50 * KiB) : nest(options, left - 1); });
}

int nested_sets_of_options(const Traits& of) {
  return nest(options_of(of), 40) == 0 && nest(options_of(of), 40) == 0 ? 7 : 1;
}
const ScenarioOfEach<nested_sets_of_options> nested_options("nested sets of options");

/// Without the symbolizer, what is kept goes at later calls.
int without_symbolizer(const Traits& of) {
  handler::set_symbolizer(false);
  StackOptions options = options_of(of);
  base_of_call(options);
  options.guard += 4 * KiB;
  base_of_call(options);
  const std::size_t kept = handler::range_count();
  std::this_thread::sleep_for(1500ms);
  options.guard += 4 * KiB;
  base_of_call(options);  // looks for the first time
  std::this_thread::sleep_for(1500ms);
  options.guard += 4 * KiB;
  base_of_call(options);
  return kept == 2 && handler::range_count() <= 2 ? 7 : 1;
}
const ScenarioOfEach<without_symbolizer> no_symbolizer("without the symbolizer");

int page_sized_start() {
  call({.reserve = MiB, .strategy = Strategy::in_handler}, [] { return descend(100 * KiB); });
  return handler::range_count() == 0 ? 7 : 1;
}
GROWSTACK_SCENARIO("nothing kept") { return page_sized_start(); }

}  // namespace

KEPT("three seconds after the last call no kept stack is left, also if nobody calls any more") {
  if (sanitized) {
    return skip("a sanitizer has memory of its own");
  }
  play("calls, then nothing", Of::traits);
}

EVERY_STRATEGY(
    "trim() gives back at once what was kept for calls, also of threads that have ended") {
  if (sanitized) {
    return skip("a sanitizer has memory of its own");
  }
  play("calls, then trim", Of::traits);
}

KEPT("the handler can be uninstalled while stacks are kept, and calls work afterwards") {
  play("calls, then uninstall", Of::traits);
}

TEST_CASE("as many stacks are kept as calls needed at the same time since the last look") {
  PoolCore* const pool =
      new PoolCore({.strategy = Strategy::in_handler, .retention = 10ms}, PoolCore::MadeFor::calls);
  {
    std::vector<Stack> out;
    while (out.size() < 5) {
      out.push_back(StackAccess::stack_in(pool->acquire("a call")));
    }
  }
  std::this_thread::sleep_for(50ms);
  pool->give_excess_back();
  CHECK(pool->statistics().cached == 5);
  std::this_thread::sleep_for(50ms);
  pool->give_excess_back();
  CHECK(pool->statistics().cached == 0);
  pool->abandon();
}

KEPT("of many sets of options, those that were used last keep their stacks") {
  play("many sets of options", Of::traits);
}

EVERY_STRATEGY("calls nest with more sets of options than are kept") {
  play("nested sets of options", Of::traits);
}

KEPT("without the symbolizer, later calls give kept stacks back") {
  if (describe(Of::strategy)->needs_thread && sanitized) {
    return skip("it takes long");
  }
  play("without the symbolizer", Of::traits);
}

TEST_CASE("with GROWSTACK_INITIAL_COMMIT=page no stack is kept for the next call") {
  setenv("GROWSTACK_INITIAL_COMMIT", "page", 1);
  const Ended ended = run_scenario("nothing kept");
  unsetenv("GROWSTACK_INITIAL_COMMIT");
  CHECK(ended.exit_code == 7);
}

// ---- limits -------------------------------------------------------------------------------------

namespace {

/// Leaves idle stacks behind that have something committed.
void keep_many(const Traits& of, int nested) {
  StackOptions options = options_of(of);
  options.reserve = MiB;
  const auto go = [&](auto& self, int left) -> void {
    call(options, [&] {
      if (left > 0) {
        self(self, left - 1);
      }
    });
  };
  go(go, nested);
}

int budget_of_idle_stacks(const Traits& of) {
  keep_many(of, 20);
  const std::size_t kept = process_counters().committed;
  require(kept > 0, "something is kept");
  set_process_budget(kept + 32 * KiB);
  const StackOptions options{.reserve = 512 * KiB, .strategy = Strategy::in_handler};
  require(error_of([&] { const Stack stack(options); }).empty(), "a Stack can be made");
  keep_many(of, 20);
  require(error_of([&] { call(options, [] { return descend(200 * KiB); }); }).empty(), "a call");
  keep_many(of, 20);
  require(error_of([&] {
            StackPool pool({.reserve = 512 * KiB, .strategy = Strategy::in_handler});
            const Stack first = pool.acquire();
          }).empty(),
          "a pool can be made");
  return 7;
}
const ScenarioOfEach<budget_of_idle_stacks> idle_budget("budget of idle stacks");

/// A stack grows while idle ones hold all of the budget.
int growth_instead_of_idle_stacks(const Traits& of) {
  Stack grows({.reserve = 4 * MiB, .strategy = Strategy::in_handler});
  keep_many(of, 20);
  set_process_budget(process_counters().committed + 16 * KiB);
  return call(grows, [] { return descend(300 * KiB); }) == 0 ? 7 : 1;
}
const ScenarioOfEach<growth_instead_of_idle_stacks> growth_instead("growth instead of idle stacks");

int address_space_of_idle_stacks(const Traits& of) {
  base_of_call(options_of(of));
  trim();
  const std::size_t before = status_bytes("VmSize");
  StackOptions options = options_of(of);
  for (std::size_t times = 1; times <= 10; ++times) {
    options.guard = times * 16 * MiB;
    base_of_call(options);
  }
  require(set_soft_limit(RLIMIT_AS, status_bytes("VmSize") + 32 * MiB), "a limit can be set");
  const StackOptions other{.reserve = 64 * MiB, .guard = MiB, .strategy = Strategy::in_handler};
  const std::string message = error_of([&] { const Stack stack(other); });
  std::printf("%zu %zu %s\n", before, status_bytes("VmSize"), message.c_str());
  return message.empty() ? 7 : 1;
}
const ScenarioOfEach<address_space_of_idle_stacks> idle_space("address space of idle stacks");

}  // namespace

namespace {

/// Goes down on some stacks at the same time.
void keep_deep(const StackOptions& options, int stacks) {
  call(options, [&] {
    descend(16 * MiB);
    if (stacks > 1) {
      keep_deep(options, stacks - 1);
    }
  });
}

/// Needs most of a budget that idle stacks hold, while another thread gives these back.
int budget_while_it_is_freed(const Traits& of) {
  constexpr int stacks = 32;
  const StackOptions options{.reserve = 20 * MiB, .strategy = of.strategy};
  for (int times = 0; times < 10; ++times) {
    set_process_budget(SIZE_MAX);
    for (int calls = 0; calls < 3; ++calls) {  // until the depth is learned
      keep_deep(options, stacks);
    }
    const std::size_t kept = process_counters().committed;
    require(kept >= stacks * 8 * MiB, "something is kept");
    set_process_budget(kept + MiB);
    StackOptions large = options;
    large.reserve = kept + MiB;
    large.policy.initial_commit = kept - MiB;
    std::thread gives_back([] { trim(); });
    while (process_counters().committed == kept) {  // until it begins to be freed
    }
    const std::string message = error_of([&] { const Stack stack(large); });
    gives_back.join();
    require(message.empty(), message.c_str());
    trim();
  }
  return 7;
}
const ScenarioOfEach<budget_while_it_is_freed> freed_budget("budget while it is freed");

}  // namespace

TEST_CASE("a budget that another thread is just freeing is there, too") {
  if (sanitized) {
    return skip("it takes long");
  }
  play("budget while it is freed", traits_of_in_handler);
}

KEPT("kept stacks that use a budget up are given back when a new stack needs it") {
  play("budget of idle stacks", Of::traits);
}

KEPT("kept stacks that use a budget up are given back when a stack grows") {
  play("growth instead of idle stacks", Of::traits);
}

KEPT("kept stacks are given back when a new stack needs their address space (RLIMIT_AS)") {
  if (sanitized) {
    return skip("a sanitizer reserves more address space than any limit allows");
  }
  play("address space of idle stacks", Of::traits);
}

// ---- children, and the ends of threads and processes --------------------------------------------

namespace {

int in_forked_children(const Traits& of) {
  const StackOptions options = options_of(of);
  const std::uintptr_t kept = base_of_call(options);
  const auto child = [&] {
    bool good = base_of_call(options, 500 * KiB) != 0 && base_of_call(options, 500 * KiB) != 0;
    good = good && call(options, [&] { return base_of_call(options) != 0; });
    // The threads that the strategy needs are there, so growth is seen.
    const std::uint64_t faults = process_counters().growth_faults;
    good = good && base_of_call(options, MiB) != 0;
    good = good && (!of.growth_events || process_counters().growth_faults > faults);
    trim();
    return good ? 7 : 1;
  };
  require(end_of_child(child) == 7, "a child calls");
  require(end_of_child([&] {
            return child() == 7 && end_of_child(child) == 7 && handler::uninstall() == 0 ? 7 : 1;
          }) == 7,
          "a grandchild calls, and the child keeps nothing afterwards");
  require(call(options, [&] { return end_of_child(child); }) == 7, "a child of a call calls");
  const int end = call(options, [&] {
    const pid_t forked = fork();
    if (forked == 0) {
      descend(200 * KiB);
      return 1000;  // ends the call in the child, too
    }
    int status = 0;
    waitpid(forked, &status, 0);
    return WEXITSTATUS(status);
  });
  if (end == 1000) {
    _exit(child() == 7 && base_of_call(options) != 0 ? 7 : 2);
  }
  require(end == 7, "the call of a parent ends in its child");
  return base_of_call(options) == kept ? 7 : 1;
}
const ScenarioOfEach<in_forked_children> forked("forked children");

/// In a child, a symbolizer of its own looks after what it keeps.
int idle_in_a_child(const Traits& of) {
  base_of_call(options_of(of));
  return end_of_child([&] {
    base_of_call(options_of(of));
    std::this_thread::sleep_for(three_intervals);
    return handler::range_count() == 0 ? 7 : 1;
  });
}
const ScenarioOfEach<idle_in_a_child> idle_child("idle child");

const Traits* of_late_calls = nullptr;

struct CallsLate {
  ~CallsLate() {
    if (of_late_calls != nullptr && base_of_call(options_of(*of_late_calls)) == 0) {
      _exit(3);
    }
  }
};
thread_local CallsLate calls_at_end_of_thread;
const CallsLate calls_at_exit;

int late_calls(const Traits& of) {
  of_late_calls = &of;
  pthread_key_t key{};
  pthread_key_create(&key, [](void*) {  // after the library's own destructors
    if (base_of_call(options_of(*of_late_calls)) == 0) {
      _exit(4);
    }
  });
  std::thread([&] {
    base_of_call(options_of(of));
    static_cast<void>(&calls_at_end_of_thread);
    pthread_setspecific(key, &key);
  }).join();
  std::atexit([] {
    if (base_of_call(options_of(*of_late_calls)) == 0) {
      _exit(5);
    }
  });
  call(options_of(of), [] { std::exit(7); });
  return 0;
}
const ScenarioOfEach<late_calls> late("late calls");

}  // namespace

KEPT(
    "forked children make calls, also children of a call, and the parent finds its kept stack "
    "again") {
  if (sanitized && Of::traits.by_userfaultfd) {
    return skip("it takes long");
  }
  play("forked children", Of::traits);
}

KEPT("the kept stacks of a forked child are given back without any further call") {
  if (sanitized) {
    return skip("a sanitizer knows no threads in a forked child");
  }
  play("idle child", Of::traits);
}

KEPT("destructors may make calls at the end of a thread and of the process") {
  play("late calls", Of::traits);
}

// ---- threads ------------------------------------------------------------------------------------

namespace {

/// A runtime forbids a zone at the low end of its thread's stack, and ends without lifting it.
int zone_that_stays(const Traits& of) {
  for (const std::size_t reserve : {std::size_t{256 * KiB}, 4 * MiB}) {
    StackOptions options = options_of(of);
    options.reserve = reserve;
    std::uintptr_t first = 0;
    Thread(options, [&] {
      const StackBounds bounds = *current_stack_bounds();
      first = address_of(bounds.base);
      descend_to(address_of(bounds.floor) + 8 * KiB);
      mprotect(bounds.floor, 16 * KiB, PROT_NONE);
    }).join();
    const auto use_all = [&] {
      const StackBounds bounds = *current_stack_bounds();
      return address_of(bounds.base) == first && descend_to(address_of(bounds.floor)) == 0 ? 7 : 1;
    };
    require(call(options, use_all) == 7, "a call has all of the stack");
    int end = 0;
    Thread(options, [&] { end = use_all(); }).join();
    require(end == 7, "a thread has all of the stack");
  }
  return 7;
}
const ScenarioOfEach<zone_that_stays> zones_that_stay("zone that stays");

}  // namespace

KEPT("what the program of a thread forbade in its stack is not forbidden to the next tenant") {
  play("zone that stays", Of::traits);
}
