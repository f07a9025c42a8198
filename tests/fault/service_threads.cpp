// The threads of the library: what they take, what they need, and how a process has none.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "support/address_of.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/injected_error.hpp"
#include "support/limits.hpp"
#include "support/recursion.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/system_call_filter.hpp"
#include "support/units.hpp"

#include <linux/close_range.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

using namespace growstack;
using namespace growstack::testing;

namespace {

StackOptions options_of(const Traits& of) {
  return {.reserve = MiB, .strategy = of.strategy, .name = "served"};
}

bool grows(Stack& stack) {
  return call(stack, [] { return descend(500 * KiB); }) == 0;
}

/// What a scenario returns where it cannot be played, besides a line on standard output.
constexpr int impossible = 8;

/// Skips the test and returns true if the scenario could not be played.
bool was_impossible(const Ended& ended) {
  const bool is_over = ended.exit_code == impossible || ended.exit_code == no_filters;
  if (is_over) {
    skip(ended.exit_code == impossible ? ended.out : "seccomp filters are not available");
  }
  return is_over;
}

}  // namespace

// ---- memory -------------------------------------------------------------------------------------

namespace {

/// Returns how much more memory the first stack makes resident than the second one.
std::size_t resident_besides_a_stack(const Traits& of) {
  const std::size_t before = status_bytes("VmRSS");
  const Stack first(options_of(of));
  const std::size_t between = status_bytes("VmRSS");
  const Stack second(options_of(of));
  return 2 * between - before - status_bytes("VmRSS");
}

/// Returns whether address space can be had, all of which counts as locked.
bool may_lock_much() {
  void* const memory = mmap(nullptr, GiB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory != MAP_FAILED && munmap(memory, GiB) == 0;
}

template <int flags>
int start_in_locked_memory(const Traits& of) {
  raise_soft_limit(RLIMIT_MEMLOCK);
  if (mlockall(flags) != 0 || !may_lock_much()) {
    std::puts("little memory may be locked here (RLIMIT_MEMLOCK)");
    return impossible;
  }
  const std::size_t bytes = resident_besides_a_stack(of);
  std::printf("%zu bytes\n", bytes);
  return bytes < MiB ? 7 : 1;
}
const ScenarioOfEach<start_in_locked_memory<MCL_FUTURE>> in_locked_memory("mlockall");
const ScenarioOfEach<start_in_locked_memory<MCL_FUTURE | MCL_ONFAULT>> in_memory_locked_on_fault(
    "mlockall on fault");

}  // namespace

EVERY_STRATEGY(
    "after mlockall(MCL_FUTURE), our threads and records take less than a MiB of memory") {
  if (sanitized) {
    return skip("a sanitizer's shadow memory is locked, too");
  }
  for (const char* const scenario : {"mlockall", "mlockall on fault"}) {
    const Ended ended = run_scenario_of(scenario, Of::traits);
    if (was_impossible(ended)) {
      return;
    }
    CAPTURE(ended.out);
    CHECK(ended.exit_code == 7);
  }
}

GROWSTACK_SCENARIO("small pages") {
  const Stack stack({.reserve = MiB, .strategy = Strategy::pipe_helper});
  int of_service_threads = 0;
  for (const Mapping& mapping : mappings()) {
    if (mapping.size() == 8 * MiB && mapping.protection == "rw-p" && mapping.has_flag("nh")) {
      ++of_service_threads;
    }
  }
  return of_service_threads == 2 ? 7 : 1;
}

TEST_CASE("the stacks of our threads take small pages, however the system is set") {
  if (sanitized) {
    return skip("a sanitizer has memory of its own");
  }
  if (madvise(nullptr, 0, MADV_NOHUGEPAGE) != 0) {
    return skip("the kernel has no huge pages");
  }
  CHECK(run_scenario("small pages").exit_code == 7);
}

GROWSTACK_SCENARIO("helpers that are left alone") {
  const auto lose_the_helper = [] {
    close_range(3, ~0U, 0);
    Stack stack({.reserve = MiB});
    return grows(stack);
  };
  bool good = lose_the_helper() && lose_the_helper();
  const std::size_t mappings = mapping_count();
  for (int times = 0; times < 50; ++times) {
    good = lose_the_helper() && good;
  }
  // The last ones may still be about to end.
  return good && mapping_count() < mappings + 20 ? 7 : 1;
}

TEST_CASE("helpers whose pipe the program closes end, and give their stacks back") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer maps memory of its own for each thread");
  }
  CHECK(run_scenario("helpers that are left alone").exit_code == 7);
}

GROWSTACK_SCENARIO("threads that end where munmap is refused") {
  InjectedError::in_a_thread([](InjectedError&) {});  // libc keeps its stack for the next one
  const std::size_t before = status_bytes("VmData");
  { const Stack stack({.reserve = MiB, .strategy = Strategy::pipe_helper}); }
  trim();
  require(status_bytes("VmData") > before + 8 * MiB, "the stacks of two threads are writable");
  int error = EPERM;
  InjectedError::in_a_thread([&](InjectedError& injected) {
    injected.refuse(SYS_munmap, EPERM);
    error = handler::uninstall();
  });
  return error == 0 && status_bytes("VmData") < before + MiB ? 7 : 1;
}

TEST_CASE("a thread that ends leaves no memory, also if a filter refuses to unmap it") {
  if (sanitized) {
    return skip("a sanitizer has memory of its own");
  }
  const Ended ended = run_scenario("threads that end where munmap is refused");
  if (was_impossible(ended)) {
    return;
  }
  CAPTURE(ended.err);
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("threads started near a limit") {
  const StackOptions near{.reserve = MiB,
                          .policy = {.initial_commit = 64 * KiB, .headroom = 0},
                          .strategy = Strategy::in_handler};
  for (std::size_t distance = 0; distance < 8 * KiB; distance += 64) {
    handler::set_symbolizer(false);
    Stack stack(near);
    const std::uintptr_t limit = address_of(stack.limit());
    call(stack, [&] {
      at_stack_pointer(limit + distance, [&] {
        handler::set_symbolizer(true);
        static_cast<void>(handler::install());
      });
    });
  }
  return 7;
}

TEST_CASE("our threads can be started from a growable stack, at every distance from its limit") {
  if (sanitized) {
    return skip("a sanitizer enlarges frames");
  }
  const Ended ended = run_scenario("threads started near a limit");
  CAPTURE(ended.err);
  CHECK(ended.exit_code == 7);
}

// ---- without any thread -------------------------------------------------------------------------

namespace {

/// Uses all that makes stacks grow. Returns 7 if it grows.
int grow_in_all_ways(const Traits& of) {
  Stack stack(options_of(of));
  bool good = grows(stack) && call(options_of(of), [] { return descend(500 * KiB); }) == 0;
  if (of.pools) {
    StackPool pool({.reserve = MiB, .strategy = of.strategy});
    Stack pooled = pool.acquire("pooled");
    good = good && grows(pooled);
  }
  return good ? 7 : 1;
}

int grow_without_symbolizer(const Traits& of) {
  handler::set_symbolizer(false);
  require(grow_in_all_ways(of) == 7, "stacks grow");
  const bool is_alone = thread_count() == 1;
  require(is_alone != describe(of.strategy)->needs_thread, "describe() tells who needs a thread");
  if (is_alone && unshare(CLONE_NEWUSER) != 0) {
    require(errno != EINVAL, "a user namespace is not refused for a second thread");
    std::printf("unshare(2) is refused here (errno %d)\n", errno);
    return impossible;
  }
  return grow_in_all_ways(of);
}
const ScenarioOfEach<grow_without_symbolizer> without_symbolizer("without symbolizer");

}  // namespace

EVERY_STRATEGY(
    "a process without symbolizer has a single thread, unless the strategy says that it needs one, "
    "and can enter a user namespace") {
  if (sanitized) {
    return skip("a sanitizer may have a thread of its own");
  }
  const Ended ended = run_scenario_of("without symbolizer", Of::traits);
  if (was_impossible(ended)) {
    return;
  }
  CAPTURE(ended.err);
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("symbolizer on and off") {
  const StackOptions options{.reserve = MiB, .strategy = Strategy::in_handler};
  { const Stack stack(options); }
  require(thread_count() == 2, "the symbolizer runs");
  for (int times = 0; times < 2; ++times) {
    handler::set_symbolizer(false);
    require(threads_come_down_to(1), "the symbolizer ends");
    { const Stack stack(options); }
    require(thread_count() == 1, "a stack does not start it");
    handler::set_symbolizer(true);
    { const Stack stack(options); }
    require(thread_count() == 2, "a stack starts it");
  }
  return handler::uninstall() == 0 ? 7 : 1;
}

TEST_CASE("the symbolizer can be had, or not, at any time") {
  if (sanitized) {
    return skip("a sanitizer may have a thread of its own");
  }
  CHECK(run_scenario("symbolizer on and off").exit_code == 7);
}

GROWSTACK_SCENARIO("overflow without symbolizer") {
  no_core();
  handler::set_symbolizer(false);
  call({.reserve = MiB, .name = "doomed"}, recurse, std::size_t{10'000'000});
  return 0;
}

GROWSTACK_SCENARIO("overflow where no thread may be made") {
  no_core();
  SystemCallFilter filter;
  filter.add(SCMP_ACT_ERRNO(EPERM), SYS_clone);
  filter.add(SCMP_ACT_ERRNO(EPERM), SYS_clone3);
  filter.install();
  call({.reserve = MiB, .name = "doomed"}, recurse, std::size_t{10'000'000});
  return 0;
}

TEST_CASE("without a symbolizer, a report has its line, and the frames as raw addresses") {
  for (const char* const scenario :
       {"overflow without symbolizer", "overflow where no thread may be made"}) {
    const Ended ended = run_scenario(scenario);
    if (was_impossible(ended)) {
      return;
    }
    CAPTURE(ended.err);
    CHECK(ended.signal == SIGSEGV);
    CHECK(contains(ended.err, "growstack: stack overflow: thread"));
    CHECK(contains(ended.err, "no symbols (no thread for them"));
    CHECK(contains(ended.err, "  #0  0x"));
  }
}

// ---- filters ------------------------------------------------------------------------------------

namespace {

struct Call {
  const char* name;
  long number;
};

/// What our threads call when they start and when they work, and can do without.
constexpr Call dispensable[] = {{"close_range", SYS_close_range},
                                {"fstat", SYS_fstat},
                                {"newfstatat", SYS_newfstatat},
                                {"sched_getscheduler", SYS_sched_getscheduler},
                                {"sched_setscheduler", SYS_sched_setscheduler},
                                {"sched_getaffinity", SYS_sched_getaffinity},
                                {"sched_setaffinity", SYS_sched_setaffinity},
                                {"sched_getattr", SYS_sched_getattr},
                                {"sched_setattr", SYS_sched_setattr},
                                {"prctl", SYS_prctl},
                                {"kcmp", SYS_kcmp},
                                {"munlock", SYS_munlock},
                                {"fcntl", SYS_fcntl},
                                {"pipe2", SYS_pipe2},
                                {"clone3", SYS_clone3}};

int grow_where_refused(const Traits& of, const Call& refused, int error) {
  SystemCallFilter filter;
  filter.add(SCMP_ACT_ERRNO(static_cast<std::uint32_t>(error)), refused.number);
  filter.install();
  int result = 0;
  const std::string message = error_of([&] { result = grow_in_all_ways(of); });
  const bool says_what_is_missing =
      of.by_userfaultfd &&
      contains(message, "a filter forbids pthread_create(3), fstat(2) or close_range(2)");
  if (message.empty() || says_what_is_missing) {
    return message.empty() ? result : 7;
  }
  std::printf("errno %d for %s: %s\n", error, refused.name, message.c_str());
  std::fflush(stdout);
  return 1;
}

int grow_where_each_is_refused(const Traits& of) {
  bool good = true;
  for (const Call& refused : dispensable) {
    for (const int error : {EPERM, ENOSYS}) {
      const int end = end_of_child([&] { return grow_where_refused(of, refused, error); });
      if (end == no_filters) {
        return no_filters;
      }
      good = good && end == 7;
    }
  }
  return good ? 7 : 1;
}
const ScenarioOfEach<grow_where_each_is_refused> where_each_is_refused("each is refused");

}  // namespace

EVERY_STRATEGY(
    "a filter that refuses what our threads can do without does not stop growth, and a "
    "userfaultfd cannot do without a thread that keeps it") {
  if (sanitized) {
    return skip("a sanitizer dies when its own system calls are refused");
  }
  const Ended ended = run_scenario_of("each is refused", Of::traits, std::chrono::seconds(100));
  if (was_impossible(ended)) {
    return;
  }
  CAPTURE(ended.out);
  CAPTURE(ended.err);
  CHECK(ended.exit_code == 7);
}
