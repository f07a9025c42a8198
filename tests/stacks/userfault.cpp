// userfault: growth by a monitor thread, without a signal. What this makes possible, and what it
// cannot do.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include "support/alternate_stack.hpp"
#include "support/bare_system_call.hpp"
#include "support/closed_descriptors.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/injected_error.hpp"
#include "support/limits.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace growstack;
using namespace growstack::testing;
using growstack::handler::page_size;

namespace {

const StackOptions options{.reserve = 8 * MiB, .strategy = Strategy::userfault, .name = "watched"};

/// Has the kernel write the signal mask to memory that nobody has touched.
long system_call_below(const Stack& stack) {
  const long address = static_cast<long>(reinterpret_cast<std::uintptr_t>(stack.base()) - 2 * MiB);
  return bare_system_call(SYS_rt_sigprocmask, SIG_BLOCK, 0, address, 8);
}

}  // namespace

#define TEST_OF_USERFAULT(promise) ONE_STRATEGY(Strategy::userfault, promise)

// ---- without a signal ---------------------------------------------------------------------------

GROWSTACK_SCENARIO("every signal blocked") {
  Stack stack(options);
  return call(stack, [&] {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    const bool grew = descend(7 * MiB) == 0;
    return grew && stack.counters().growth_faults > 0 ? 7 : 1;
  });
}

TEST_OF_USERFAULT("a stack grows with every signal blocked") {
  CHECK(run_scenario("every signal blocked").exit_code == 7);
}

GROWSTACK_SCENARIO("no alternate stack") {
  Stack stack(options);
  return call(stack, [&] {
    take_alternate_stack_away();
    return descend(7 * MiB) == 0 ? 7 : 1;
  });
}

TEST_OF_USERFAULT("a stack grows in a thread without an alternate signal stack") {
  CHECK(run_scenario("no alternate stack").exit_code == 7);
}

TEST_OF_USERFAULT("growth is counted, although no handler saw it") {
  Stack stack(options);
  call(stack, [] { descend(4 * MiB); });
  CHECK(stack.counters().growth_faults > 0);
  CHECK(handler::counters().growth == stack.counters().growth_faults);
  CHECK(handler::counters().foreign == 0);
}

TEST_OF_USERFAULT("threads that grow their stacks at once are all served by the one monitor") {
  constexpr int count = 16;
  std::barrier start(count);
  std::atomic<std::size_t> wrong{0};
  std::atomic<std::uint64_t> faults{0};
  std::vector<std::thread> threads;
  for (int index = 0; index < count; ++index) {
    threads.emplace_back([&] {
      Stack stack(options);
      start.arrive_and_wait();
      for (int round = 0; round < (sanitized ? 2 : 5); ++round) {
        wrong += call(stack, [] { return descend(4 * MiB); });
        wrong += stack.trim() ? 1 : 0;
      }
      faults += stack.counters().growth_faults;
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  CHECK(wrong == 0);
  CHECK(handler::counters().growth == faults);
}

// ---- system calls -------------------------------------------------------------------------------

TEST_OF_USERFAULT(
    "with the privilege, a system call into memory that nobody touched is served and counted") {
  if (const Support here = supported(Strategy::userfault); !here.reason.empty()) {
    return skip(here.reason);
  }
  Stack stack(options);
  CHECK(call(stack, [&] { return system_call_below(stack); }) == 0);
  CHECK(stack.committed() >= 2 * MiB);
  CHECK(stack.counters().growth_faults == 1);
}

GROWSTACK_SCENARIO("system calls without privilege") {
  if (!become_nobody()) {
    return 8;
  }
  const Support here = supported(Strategy::userfault);
  Stack stack(options);
  const long got = call(stack, [&] { return system_call_below(stack); });
  const bool grows = call(stack, [] { return descend(7 * MiB); }) == 0;
  std::printf("%d %ld %d %s\n", here.works, got, grows, here.reason.c_str());
  return 0;
}

TEST_OF_USERFAULT(
    "without the privilege supported() says so, "
    "system calls get EFAULT, and the program's own faults are served") {
  if (number_in("/proc/sys/vm/unprivileged_userfaultfd") != 0) {
    return skip("vm.unprivileged_userfaultfd gives the privilege to everybody");
  }
  if (access("/dev/userfaultfd", R_OK | W_OK) == 0 && getuid() != 0) {
    return skip("/dev/userfaultfd gives the privilege to this user");
  }
  const Ended ended = run_scenario("system calls without privilege");
  if (ended.exit_code == 8) {
    return skip("privileges cannot be given up here");
  }
  CAPTURE(ended.out);
  CHECK(ended.exit_code == 0);
  CHECK(ended.out.starts_with("1 " + std::to_string(-EFAULT) + " 1 "));
  CHECK(contains(ended.out, "system calls"));
}

// ---- forks and descriptors ----------------------------------------------------------------------

GROWSTACK_SCENARIO("forked") {
  no_core();
  Stack stack(options);
  call(stack, [] { descend(200 * KiB); });
  const int grown = end_of_child([&] {
    const bool old = call(stack, [] { return descend(7 * MiB); }) == 0;
    const bool own = call(options, [] { return descend(7 * MiB); }) == 0;
    return old && own ? 7 : 1;
  });
  const int overflown = end_of_child([&] {
    call(stack, [] { descend_to(0); });
    return 1;
  });
  const bool parent = call(stack, [] { return descend(7 * MiB); }) == 0;
  std::printf("%d %d %d\n", grown, overflown, parent);
  return 0;
}

TEST_OF_USERFAULT(
    "a forked child, which has no monitor, is filled by the kernel and keeps its guard") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer does not know threads after a fork");
  }
  const Ended ended = run_scenario("forked");
  CAPTURE(ended.err);
  CHECK(ended.out == "7 " + std::to_string(killed_by(SIGSEGV)) + " 1\n");
}

GROWSTACK_SCENARIO("all descriptors closed") {
  Stack stack(options);
  call(stack, [] { descend(100 * KiB); });
  close_range(3, ~0U, 0);
  const bool here = call(stack, [] { return descend(7 * MiB); }) == 0;
  try {
    return here && call(options, [] { return descend(7 * MiB); }) == 0 ? 7 : 1;
  } catch (const std::system_error&) {
    return here ? 7 : 2;  // the next stack is allowed to be refused
  }
}

TEST_OF_USERFAULT("the stacks of a program that closes all descriptors go on growing") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer does not know two descriptor tables");
  }
  const Ended ended = run_scenario("all descriptors closed", std::chrono::seconds(20));
  CHECK_FALSE(ended.timed_out);
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("a new stack after all descriptors closed") {
  Stack before(options);
  call(before, [] { descend(100 * KiB); });
  close_range(3, ~0U, 0);
  int theirs = -1;  // files at the number that was ours, and above, so that it is not ours again
  for (int file = 0; file < 20; ++file) {
    theirs = open("/dev/null", O_RDONLY);
  }
  Stack after(options);
  const bool grew = call(after, [] { return descend(4 * MiB); }) == 0 &&
                    call(before, [] { return descend(4 * MiB); }) == 0;
  return grew && theirs == 22 ? 7 : 1;
}

TEST_OF_USERFAULT(
    "the next stack that is made opens a descriptor again, and the monitor of the stacks before it "
    "goes on with its own") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer does not know two descriptor tables");
  }
  CHECK(run_scenario("a new stack after all descriptors closed").exit_code == 7);
}

GROWSTACK_SCENARIO("more stacks of a pool after all descriptors closed") {
  return more_stacks_of_a_pool(options.strategy, false);
}
GROWSTACK_SCENARIO("more stacks of a pool, and userfaultfds of the program") {
  return more_stacks_of_a_pool(options.strategy, true);
}

TEST_OF_USERFAULT("a pool whose program closes all descriptors goes on making stacks") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer does not know two descriptor tables");
  }
  CHECK(run_scenario("more stacks of a pool after all descriptors closed").exit_code == 7);
}

TEST_OF_USERFAULT(
    "no stack is watched by a userfaultfd of the program's that has the number that was ours") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer does not know two descriptor tables");
  }
  const Ended ended = run_scenario("more stacks of a pool, and userfaultfds of the program");
  if (ended.exit_code == 8) {
    return skip("this process may not have a userfaultfd of its own");
  }
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("all memory locked") {
  raise_soft_limit(RLIMIT_MEMLOCK);
  Stack stack({.reserve = 256 * KiB, .strategy = Strategy::userfault});
  if (mlockall(MCL_CURRENT) != 0 || munlockall() != 0) {
    return 1;
  }
  return call(stack, [] { return descend(200 * KiB); }) == 0 && stack.trim() == std::error_code() &&
                 call(stack, [] { return descend(200 * KiB); }) == 0
             ? 7
             : 2;
}

GROWSTACK_SCENARIO("monitor put away") {
  {
    Stack stack(options);
    call(stack, [] { descend(MiB); });
  }
  const std::size_t threads = thread_count();
  if (handler::uninstall() != 0 || !threads_come_down_to(threads - 1)) {
    return 1;
  }
  return call(options, [] { return descend(4 * MiB); }) == 0 ? 7 : 2;
}

TEST_OF_USERFAULT("a program that locks all its memory, that of the monitor too, does not end it") {
  const Ended ended = run_scenario("all memory locked", std::chrono::seconds(20));
  if (ended.exit_code == 1) {
    return skip("RLIMIT_MEMLOCK is too low to lock all memory");
  }
  CHECK_FALSE(ended.timed_out);
  CHECK(ended.exit_code == 7);
}

TEST_OF_USERFAULT("uninstall ends the monitor, and the next stack starts it anew") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer has a thread of its own");
  }
  CHECK(run_scenario("monitor put away").exit_code == 7);
}

// ---- forked children ----------------------------------------------------------------------------

TEST_OF_USERFAULT(
    "in a forked child, where nobody watches, memory ahead of need is the kernel's, also if there "
    "is no other userfaultfd") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer does not know threads after a fork");
  }
  Stack stack(options);
  const int end = end_of_child([&] {
    InjectedError injected = InjectedError::for_good();
    injected.refuse(SYS_userfaultfd, EPERM);
    injected.refuse(SYS_openat, EACCES);
    return call(stack, [] { return reserve_headroom(256 * KiB) ? 1 : 7; });
  });
  if (end == no_filters) {
    return skip("seccomp filters are not available");
  }
  CHECK(end == 7);
}
