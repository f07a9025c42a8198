// userfault_signal: growth by SIGBUS. A SIGBUS that is not ours is as if we were not there. And the
// guard has no hole, whatever the program does to descriptors and memory.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include "support/address_of.hpp"
#include "support/bare_system_call.hpp"
#include "support/closed_descriptors.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/limits.hpp"
#include "support/old_kernel.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <string>
#include <thread>

using namespace growstack;
using namespace growstack::testing;
using growstack::handler::page_size;

namespace {

const StackOptions options{
    .reserve = 8 * MiB, .strategy = Strategy::userfault_signal, .name = "filled"};

/// Returns a mapped page that lies beyond the end of its file, so that a touch is a SIGBUS.
volatile char* beyond_the_file() {
  const int file = memfd_create("truncated", MFD_CLOEXEC);
  if (ftruncate(file, 1) != 0) {
    _exit(100);
  }
  void* const mapped = mmap(nullptr, page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (mapped == MAP_FAILED || ftruncate(file, 0) != 0) {
    _exit(101);
  }
  return static_cast<volatile char*>(mapped);
}

}  // namespace

#define TEST_OF_USERFAULT_SIGNAL(promise) ONE_STRATEGY(Strategy::userfault_signal, promise)

// ---- SIGBUS that is not ours --------------------------------------------------------------------

GROWSTACK_SCENARIO("truncated file on a stack") {
  no_core();
  call(options, [] {
    descend(MiB);
    *beyond_the_file() = 1;
  });
  return 0;
}
/// A signal comes whose frame needs memory that the program has given back: the stack pointer is
/// close above a page that is missing.
[[gnu::noinline]] long raise_close_above_a_missing_page() {
  constexpr std::size_t close = 512;
  struct sigaction action {};
  action.sa_handler = [](int) {};
  sigaction(SIGUSR1, &action, nullptr);
  const long process = getpid();
  const long thread = gettid();
  const std::size_t above = GROWSTACK_HERE % page_size();
  const void* const room = __builtin_alloca(above + page_size() - close);
  const std::uintptr_t missing = address_of(room) / page_size() * page_size() - 4 * page_size();
  bare_system_call(SYS_madvise, static_cast<long>(missing), 4 * static_cast<long>(page_size()),
                   MADV_DONTNEED);
  return bare_system_call(SYS_tgkill, process, thread, SIGUSR1);
}

GROWSTACK_SCENARIO("a signal's frame on discarded pages") {
  Stack stack(options);
  call(stack, [] {
    descend(256 * KiB);
    raise_close_above_a_missing_page();
  });
  return growstack::handler::counters().lost_signal_frame == 1 ? 7 : 1;
}

ONE_STRATEGY(Strategy::userfault_signal,
             "a signal whose frame needs memory that was given back is counted as lost") {
  const Ended ended = run_scenario("a signal's frame on discarded pages");
  CHECK(ended.exit_code == 7);
  CHECK(ended.err.starts_with("growstack: a signal was lost"));
}

GROWSTACK_SCENARIO("truncated file elsewhere") {
  no_core();
  const Stack stack(options);
  *beyond_the_file() = 1;
  return 0;
}
GROWSTACK_SCENARIO("sent from inside") {
  no_core();
  call(options, [] { raise(SIGBUS); });
  return 0;
}

TEST_OF_USERFAULT_SIGNAL("a SIGBUS that is not ours kills as it always did, with no word from us") {
  for (const char* const scenario :
       {"truncated file on a stack", "truncated file elsewhere", "sent from inside"}) {
    CAPTURE(std::string(scenario));
    const Ended ended = run_scenario(scenario);
    CHECK(ended.signal == SIGBUS);
    CHECK(ended.err == "");
  }
}

GROWSTACK_SCENARIO("earlier handler") {
  static volatile char* place = nullptr;
  struct sigaction theirs {};
  theirs.sa_sigaction = [](int signal, siginfo_t* info, void*) {
    _exit(signal == SIGBUS && info->si_code == BUS_ADRERR &&
                  info->si_addr == const_cast<char*>(place)
              ? 7
              : 1);
  };
  theirs.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGBUS, &theirs, nullptr);
  place = beyond_the_file();
  call(options, [] {
    descend(4 * MiB);  // our handler serves growth, and does not forward it
    *place = 1;
  });
  return 2;
}

TEST_OF_USERFAULT_SIGNAL(
    "a SIGBUS handler installed before ours gets the faults that are not ours, and only those") {
  CHECK(run_scenario("earlier handler").exit_code == 7);
}

GROWSTACK_SCENARIO("handlers put back") {
  struct sigaction theirs {};
  theirs.sa_handler = [](int) { _exit(7); };
  sigaction(SIGBUS, &theirs, nullptr);
  call(options, [] { descend(4 * MiB); });
  const bool ours = handler::installed(SIGBUS);
  const bool gone = handler::uninstall() == 0 && !handler::installed(SIGBUS);
  if (ours && gone) {
    *beyond_the_file() = 1;
  }
  return 1;
}

TEST_OF_USERFAULT_SIGNAL("uninstall puts the SIGBUS handler back") {
  CHECK(run_scenario("handlers put back").exit_code == 7);
}

GROWSTACK_SCENARIO("no bus handler without need") {
  const Stack stack({.strategy = Strategy::in_handler});
  return handler::installed() && !handler::installed(SIGBUS) ? 7 : 1;
}

TEST_CASE("no SIGBUS handler is installed where no stack needs it") {
  CHECK(run_scenario("no bus handler without need").exit_code == 7);
}

// ---- what programs do to it ---------------------------------------------------------------------

GROWSTACK_SCENARIO("grown after the program closed all descriptors") {
  Stack stack(options);
  call(stack, [] { descend(100 * KiB); });
  close_range(3, ~0U, 0);
  const std::uint32_t before = stack.counters().growth_faults;
  const bool grew =
      call(stack, [] { return descend(4 * MiB); }) == 0 && stack.counters().growth_faults > before;
  const int next = open("/dev/null", O_RDONLY);
  return grew && next == 3 ? 7 : 1;  // nothing of ours is left open
}

TEST_OF_USERFAULT_SIGNAL("the stacks of a program that closes all descriptors go on growing") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer does not know two descriptor tables");
  }
  CHECK(run_scenario("grown after the program closed all descriptors").exit_code == 7);
}

GROWSTACK_SCENARIO("grown while no descriptor can be had") {
  no_core();
  Stack stack(options);
  call(stack, [] { descend(100 * KiB); });
  close_range(3, ~0U, 0);
  set_soft_limit(RLIMIT_NOFILE, 3);
  call(stack, [] { descend(4 * MiB); });
  return 0;
}

TEST_OF_USERFAULT_SIGNAL(
    "if no other descriptor can be opened either, a stack that must grow dies and says why") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer does not know two descriptor tables");
  }
  const Ended ended = run_scenario("grown while no descriptor can be had");
  CHECK(ended.signal == SIGBUS);
  CHECK(contains(ended.err, "could not grow (EBADF: the program closed the descriptor"));
}

GROWSTACK_SCENARIO("made after the program closed all descriptors") {
  Stack before(options);
  call(before, [] { descend(100 * KiB); });
  close_range(3, ~0U, 0);
  Stack after(options);
  const bool new_one = call(after, [] { return descend(4 * MiB); }) == 0;
  const bool old_one = call(before, [] { return descend(4 * MiB); }) == 0;
  return new_one && old_one ? 7 : 1;
}

TEST_OF_USERFAULT_SIGNAL(
    "the next stack that is made opens a descriptor again, also for the stacks before it") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer does not know two descriptor tables");
  }
  CHECK(run_scenario("made after the program closed all descriptors").exit_code == 7);
}

GROWSTACK_SCENARIO("more stacks of a pool after all descriptors closed") {
  return more_stacks_of_a_pool(options.strategy, false);
}
GROWSTACK_SCENARIO("more stacks of a pool, and userfaultfds of the program") {
  return more_stacks_of_a_pool(options.strategy, true);
}

TEST_OF_USERFAULT_SIGNAL("a pool whose program closes all descriptors goes on making stacks") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer does not know two descriptor tables");
  }
  CHECK(run_scenario("more stacks of a pool after all descriptors closed").exit_code == 7);
}

TEST_OF_USERFAULT_SIGNAL(
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

namespace {

/// Returns the highest number of a userfaultfd of a process, or -1. A forked child's own one is
/// above the copy of its parent's.
int number_of_userfault(pid_t process) {
  for (int number = 100; number > 0; --number) {
    std::array<char, 64> target{};
    const std::string link = "/proc/" + std::to_string(process) + "/fd/" + std::to_string(number);
    if (readlink(link.c_str(), target.data(), target.size() - 1) > 0 &&
        std::string(target.data()).find("[userfaultfd]") != std::string::npos) {
      return number;
    }
  }
  return -1;
}

/// Returns a copy of another process's descriptor (Linux 5.6), or -1.
int copy_of(pid_t process, int number) {
  const auto handle = static_cast<int>(syscall(SYS_pidfd_open, process, 0));
  return static_cast<int>(syscall(SYS_pidfd_getfd, handle, number, 0));
}

}  // namespace

GROWSTACK_SCENARIO("the number is another process's userfaultfd") {
  Stack stack(options);
  call(stack, [] { descend(100 * KiB); });
  const pid_t child = fork();  // it watches its copy of the stack by a userfaultfd of its own
  if (child == 0) {
    pause();
    _exit(0);
  }
  usleep(100'000);
  const int ours = number_of_userfault(getpid());
  const int theirs = copy_of(child, number_of_userfault(child));
  int result = 8;
  if (ours >= 0 && theirs >= 0) {
    dup2(theirs, ours);
    alarm(20);  // what is filled in another process does not end a fault here
    result = call(stack, [] { return descend(4 * MiB); }) == 0 ? 7 : 1;
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  return result;
}

TEST_OF_USERFAULT_SIGNAL(
    "a number that was ours and is now another process's userfaultfd is left alone") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer does not know two descriptor tables");
  }
  const Ended ended = run_scenario("the number is another process's userfaultfd");
  if (ended.exit_code == 8) {
    return skip("this process may not copy a descriptor of its child");
  }
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("overflow after the program closed all descriptors") {
  no_core();
  const StackOptions grown{.reserve = MiB,
                           .policy = {.initial_commit = MiB},
                           .strategy = Strategy::userfault_signal,
                           .name = "filled"};
  Stack stack(grown);
  close_range(3, ~0U, 0);
  call(stack, [] { descend_to(0); });
  return 0;
}

TEST_OF_USERFAULT_SIGNAL("a program that closes all descriptors keeps the guards") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer does not know two descriptor tables");
  }
  const Ended ended = run_scenario("overflow after the program closed all descriptors");
  CHECK(ended.signal == signal_of_overflow(Strategy::userfault_signal));
  CHECK(contains(ended.err, "stack overflow"));
}

GROWSTACK_SCENARIO("overflow without markers") {
  no_core();
  InjectedError injected = InjectedError::for_good();
  without_guard_markers(injected);
  Stack stack(options);
  call(stack, [] { descend(4 * MiB); });
  call(stack, [] { descend_to(0); });
  return 0;
}

TEST_OF_USERFAULT_SIGNAL(
    "on a kernel without guard markers the guard is "
    "memory that is never filled, and a touch is SIGBUS") {
  const Ended ended = run_scenario("overflow without markers");
  CHECK(ended.signal == SIGBUS);
  CHECK(contains(ended.err, "stack overflow"));
}

GROWSTACK_SCENARIO("forked") {
  no_core();
  Stack stack(options);
  Stack untouched(options);
  call(stack, [] { descend(200 * KiB); });
  const int grown = end_of_child([&] {
    const bool both = call(stack, [] { return descend(7 * MiB); }) == 0 &&
                      call(untouched, [] { return descend(MiB); }) == 0;
    const bool own = call(options, [] { return descend(MiB); }) == 0;
    const int grandchild =
        end_of_child([&] { return call(stack, [] { return descend(7 * MiB); }) == 0 ? 7 : 1; });
    return both && own && grandchild == 7 && stack.counters().growth_faults > 0 ? 7 : 1;
  });
  const int overflown = end_of_child([&] {
    call(untouched, [] { descend_to(0); });
    return 1;
  });
  const bool parent = call(stack, [] { return descend(7 * MiB); }) == 0;
  std::printf("%d %d %d\n", grown, overflown, parent);
  return 0;
}

TEST_OF_USERFAULT_SIGNAL(
    "a forked child keeps growing and keeps its guard, and so does its own child") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer does not know threads after a fork");
  }
  const Ended ended = run_scenario("forked");
  CHECK(ended.out ==
        "7 " + std::to_string(killed_by(signal_of_overflow(Strategy::userfault_signal))) + " 1\n");
  CHECK(contains(ended.err, "stack overflow"));
}

GROWSTACK_SCENARIO("fork from the stack") {
  return call(options, [] {
    descend(100 * KiB);
    const int child = exit_code_of_child([] { return descend(4 * MiB) == 0 ? 7 : 1; });
    return descend(4 * MiB) == 0 ? child : 1;
  });
}

TEST_OF_USERFAULT_SIGNAL(
    "a fork from such a stack leaves two processes that both go on growing it") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer does not know threads after a fork");
  }
  CHECK(run_scenario("fork from the stack").exit_code == 7);
}

GROWSTACK_SCENARIO("without any privilege") {
  if (!become_nobody()) {
    return 8;
  }
  return call(options, [] { return descend(7 * MiB); }) == 0 ? 7 : 1;
}

TEST_OF_USERFAULT_SIGNAL("userfault_signal needs no privilege") {
  const Ended ended = run_scenario("without any privilege");
  if (ended.exit_code == 8) {
    return skip("privileges cannot be given up here");
  }
  CHECK(ended.exit_code == 7);
}

TEST_OF_USERFAULT_SIGNAL("a forked child still sees a stack of its parent's grow") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer does not know threads after a fork");
  }
  Stack stack(options);
  CHECK(end_of_child([&] {
          call(stack, [] { descend(4 * MiB); });
          return stack.counters().growth_faults > 0 ? 7 : 1;
        }) == 7);
}

// ---- what is filled -----------------------------------------------------------------------------

TEST_OF_USERFAULT_SIGNAL("a step is filled also if it lies in two mappings") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer knows no threads after a fork");
  }
  CHECK(end_of_child([] {
          Stack stack(options);
          const std::uintptr_t base = address_of(stack.base());
          void* const middle = reinterpret_cast<void*>(base - 2 * MiB);
          require(madvise(middle, MiB, MADV_DONTDUMP) == 0, "a mapping apart");
          call(stack, [base] { touch_in_one_jump(base - 2 * MiB - 64 * KiB); });
          return address_of(stack.limit()) <= base - 2 * MiB - 64 * KiB ? 7 : 1;
        }) == 7);
}

TEST_OF_USERFAULT_SIGNAL("a touch far below takes memory for one step, and not for all above it") {
  Stack stack({.reserve = 64 * MiB, .strategy = Strategy::userfault_signal});
  const std::uintptr_t base = address_of(stack.base());
  call(stack, [base] { touch_in_one_jump(base - 40 * MiB); });
  CHECK(address_of(stack.limit()) <= base - 40 * MiB);
  CHECK(stack.resident() < 16 * MiB);
}
