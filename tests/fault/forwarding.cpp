// Faults that are not ours happen exactly as if we were not there: wild pointers, sent signals,
// handlers of others.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include "support/forked.hpp"
#include "support/injected_error.hpp"
#include "support/machine/machine.hpp"
#include "support/recursion.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>

using namespace growstack;
using namespace growstack::testing;

namespace {

const StackOptions small{.reserve = 16 * MiB, .name = "small"};

void check_silent_crash(const Ended& ended) {
  CHECK(ended.signal == SIGSEGV);
  CHECK(ended.err.empty());
  CHECK_FALSE(ended.timed_out);
}

/// Hides from the optimizer that a pointer is a bad one.
volatile char* wild(std::uintptr_t address) {
  asm volatile("" : "+r"(address));
  return reinterpret_cast<volatile char*>(address);
}

struct sigaction handler_action(void (*handler)(int, siginfo_t*, void*), int flags = 0) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | flags;
  return action;
}

}  // namespace

// ---- crashes that stay crashes ------------------------------------------------------------------

GROWSTACK_SCENARIO("null pointer") {
  no_core();
  call(small, [] { *wild(16) = 1; });
  return 0;
}

TEST_CASE("a null pointer dereferenced on a growable stack dies of SIGSEGV with no word from us") {
  check_silent_crash(run_scenario("null pointer"));
}

GROWSTACK_SCENARIO("wild pointer into a 256 GiB reservation") {
  no_core();
  const Stack huge({.reserve = 256 * GiB});
  *wild(reinterpret_cast<std::uintptr_t>(huge.base()) - 100 * GiB) = 1;
  return 0;
}

TEST_CASE(
    "a wild pointer into the middle of a 256 GiB "
    "reservation is a crash, neither growth nor overflow") {
  check_silent_crash(run_scenario("wild pointer into a 256 GiB reservation"));
}

GROWSTACK_SCENARIO("wild pointer far below the own stack pointer") {
  no_core();
  call(StackOptions{.reserve = 256 * GiB}, [] {
    char here = 0;
    *wild(reinterpret_cast<std::uintptr_t>(&here) - GiB) = 1;
  });
  return 0;
}

TEST_CASE("a wild pointer far below the stack pointer into the same stack is a crash, too") {
  check_silent_crash(run_scenario("wild pointer far below the own stack pointer"));
}

GROWSTACK_SCENARIO("wild pointer into a guard") {
  no_core();
  const Stack stack(small);
  *wild(reinterpret_cast<std::uintptr_t>(stack.floor()) - 1) = 1;
  return 0;
}

TEST_CASE("a wild pointer into somebody's guard is not reported as an overflow") {
  check_silent_crash(run_scenario("wild pointer into a guard"));
}

GROWSTACK_SCENARIO("non-canonical pointer") {
  no_core();
  call(small, [] { *wild(machine::bad_address) = 1; });
  return 0;
}

TEST_CASE("a non-canonical pointer, which comes without an address, is a crash") {
  check_silent_crash(run_scenario("non-canonical pointer"));
}

GROWSTACK_SCENARIO("non-canonical pointer near the limit") {
  no_core();
  Stack stack(small);
  call(stack, [&] {
    // Goes down to where a signal frame, which has more than 2 KiB, would not fit into the
    // committed part. Its own frames must fit, also with what AddressSanitizer puts around each
    // local variable.
    const auto crash_near_limit = [&](auto self) -> void {
      char room[64];
      asm volatile("" : : "r"(room) : "memory");
      if (room - static_cast<char*>(stack.limit()) > 1536) {
        self(self);
      }
      *wild(machine::bad_address) = 1;
      asm volatile("" : : : "memory");
    };
    crash_near_limit(crash_near_limit);
  });
  return 0;
}

TEST_CASE(
    "a non-canonical pointer is a crash also where no signal frame would fit, after room was made "
    "in vain") {
  if (under_thread_sanitizer) {
    skip(
        "the fault strikes inside of ThreadSanitizer's runtime, "
        "while that holds a lock which the handler's atomics need");
    return;
  }
  check_silent_crash(run_scenario("non-canonical pointer near the limit"));
}

GROWSTACK_SCENARIO("executing the stack") {
  no_core();
  call(small, [] {
    char code[16];
    machine::fill_with_returns(code, sizeof code);
    asm volatile("" : : "r"(code) : "memory");
    reinterpret_cast<void (*)()>(reinterpret_cast<std::uintptr_t>(code))();
  });
  return 0;
}

TEST_CASE(
    "jumping into the stack's own memory is a crash and not an endless loop of spurious faults") {
  check_silent_crash(run_scenario("executing the stack"));
}

GROWSTACK_SCENARIO("writing to a page made read-only") {
  no_core();
  Stack stack(small);
  char* const page = static_cast<char*>(stack.base()) - handler::page_size();
  page[0] = 1;
  if (mprotect(page, handler::page_size(), PROT_READ) != 0) {
    return 1;
  }
  page[0] = 2;
  return 0;
}

TEST_CASE("a page of the stack that its owner made read-only stays so") {
  check_silent_crash(run_scenario("writing to a page made read-only"));
}

// ---- signals that somebody sends ----------------------------------------------------------------

GROWSTACK_SCENARIO("kill from inside") {
  no_core();
  call(small, [] { kill(getpid(), SIGSEGV); });
  return 0;
}
GROWSTACK_SCENARIO("raise from inside") {
  no_core();
  call(small, [] { raise(SIGSEGV); });
  return 0;
}
GROWSTACK_SCENARIO("sigqueue from inside") {
  no_core();
  call(small, [] { sigqueue(getpid(), SIGSEGV, sigval{.sival_int = 42}); });
  return 0;
}

TEST_CASE("a SIGSEGV sent by kill, raise or sigqueue from inside a call kills as it always did") {
  check_silent_crash(run_scenario("kill from inside"));
  check_silent_crash(run_scenario("raise from inside"));
  check_silent_crash(run_scenario("sigqueue from inside"));
}

GROWSTACK_SCENARIO("sent while ignored") {
  no_core();
  signal(SIGSEGV, SIG_IGN);
  call(small, [] { raise(SIGSEGV); });
  return recurse(10) == 10 ? 7 : 1;
}
GROWSTACK_SCENARIO("fault while ignored") {
  no_core();
  signal(SIGSEGV, SIG_IGN);
  call(small, [] { *wild(16) = 1; });
  return 0;
}

TEST_CASE(
    "a program that ignores SIGSEGV still ignores one that is sent, and still dies of a real "
    "fault") {
  CHECK(run_scenario("sent while ignored").exit_code == 7);
  check_silent_crash(run_scenario("fault while ignored"));
}

GROWSTACK_SCENARIO("told of bad memory while ignored") {
  no_core();
  signal(SIGBUS, SIG_IGN);
  if (handler::install(SIGBUS) != 0) {
    return 1;
  }
  siginfo_t info{};
  info.si_signo = SIGBUS;
  info.si_code = BUS_MCEERR_AO;
  info.si_addr = const_cast<char*>(wild(handler::page_size()));
  // Twice, because the first one must not leave the default action behind.
  const auto tell = [&] {
    return syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGBUS, &info) == 0;
  };
  return tell() && tell() ? 7 : 2;
}

TEST_CASE(
    "a program that ignores SIGBUS still ignores the word that memory, which it may never touch, "
    "is bad") {
  CHECK(run_scenario("told of bad memory while ignored").exit_code == 7);
}

GROWSTACK_SCENARIO("queued value reaches an earlier handler") {
  const struct sigaction theirs = handler_action([](int, siginfo_t* info, void*) {
    _exit(info->si_code == SI_QUEUE && info->si_pid == getpid() ? info->si_value.sival_int : 1);
  });
  sigaction(SIGSEGV, &theirs, nullptr);
  call(small, [] { sigqueue(getpid(), SIGSEGV, sigval{.sival_int = 42}); });
  return 0;
}

TEST_CASE("a handler installed before ours sees who sent a signal and with what value") {
  CHECK(run_scenario("queued value reaches an earlier handler").exit_code == 42);
}

// ---- handlers of others -------------------------------------------------------------------------

GROWSTACK_SCENARIO("earlier handler gets the address") {
  const struct sigaction theirs = handler_action(
      [](int signal, siginfo_t* info, void* context) {
        const bool whole = signal == SIGSEGV && info->si_addr == reinterpret_cast<void*>(16) &&
                           info->si_code == SEGV_MAPERR && context != nullptr;
        _exit(whole ? 7 : 1);
      },
      SA_ONSTACK);
  sigaction(SIGSEGV, &theirs, nullptr);
  call(small, [] {
    recurse(20000);  // our handler serves growth, and does not forward it
    *wild(16) = 1;
  });
  return 0;
}

TEST_CASE("a handler installed before ours gets the faults that are not ours, and only those") {
  CHECK(run_scenario("earlier handler gets the address").exit_code == 7);
}

GROWSTACK_SCENARIO("earlier handler without siginfo") {
  signal(SIGSEGV, [](int signal) { _exit(signal == SIGSEGV ? 7 : 1); });
  call(small, [] { *wild(16) = 1; });
  return 0;
}

TEST_CASE("a handler of the old kind, without siginfo, is called the old way") {
  CHECK(run_scenario("earlier handler without siginfo").exit_code == 7);
}

GROWSTACK_SCENARIO("mask of the earlier handler") {
  // SIGUSR1 is in its mask, the program blocks SIGUSR2, SIGTERM is in neither, and SIGSEGV is
  // blocked by default.
  static sigset_t seen;
  struct sigaction theirs = handler_action([](int, siginfo_t*, void*) {
    pthread_sigmask(SIG_SETMASK, nullptr, &seen);
    const bool right = sigismember(&seen, SIGUSR1) == 1 && sigismember(&seen, SIGUSR2) == 1 &&
                       sigismember(&seen, SIGTERM) == 0 && sigismember(&seen, SIGSEGV) == 1;
    _exit(right ? 7 : 1);
  });
  sigaddset(&theirs.sa_mask, SIGUSR1);
  sigaction(SIGSEGV, &theirs, nullptr);
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
  call(small, [] { *wild(16) = 1; });
  return 0;
}

TEST_CASE("a forwarded handler runs under the mask that it asked for, and not under ours") {
  CHECK(run_scenario("mask of the earlier handler").exit_code == 7);
}

GROWSTACK_SCENARIO("earlier handler with SA_NODEFER") {
  static int depth = 0;
  const struct sigaction theirs = handler_action(
      [](int, siginfo_t*, void*) {
        if (++depth == 2) {
          _exit(7);
        }
        *wild(16) = 1;
      },
      SA_NODEFER);
  sigaction(SIGSEGV, &theirs, nullptr);
  call(small, [] { *wild(16) = 1; });
  return 0;
}

TEST_CASE("a forwarded handler with SA_NODEFER may fault again") {
  CHECK(run_scenario("earlier handler with SA_NODEFER").exit_code == 7);
}

GROWSTACK_SCENARIO("one-shot handler") {
  no_core();
  const struct sigaction theirs = handler_action(
      [](int, siginfo_t*, void*) {
        std::puts("once");
        std::fflush(stdout);
      },
      static_cast<int>(SA_RESETHAND));
  sigaction(SIGSEGV, &theirs, nullptr);
  call(small, [] { *wild(16) = 1; });
  return 0;
}

TEST_CASE("a one-shot handler (SA_RESETHAND) is called once, then the default kills") {
  const Ended ended = run_scenario("one-shot handler");
  CHECK(ended.signal == SIGSEGV);
  CHECK(ended.out == "once\n");
}

GROWSTACK_SCENARIO("ignored with other flags") {
  for (const int flag : {static_cast<int>(SA_RESETHAND), SA_SIGINFO}) {
    struct sigaction ignored {};
    ignored.sa_handler = SIG_IGN;
    ignored.sa_flags = flag;
    sigaction(SIGSEGV, &ignored, nullptr);
    require(handler::install() == 0, "install");
    raise(SIGSEGV);
    raise(SIGSEGV);
    require(handler::uninstall() == 0, "uninstall");
  }
  return 7;
}

TEST_CASE("SIG_IGN stays in force with SA_RESETHAND, and is no handler with SA_SIGINFO") {
  CHECK(run_scenario("ignored with other flags").exit_code == 7);
}

namespace {

std::atomic<int> calls_of_one_shot{0};

/// Installs a one-shot handler, and ours after it. Two threads then fault at the same time. Returns
/// 22 if both were handled, and dies of SIGSEGV or returns 11 otherwise.
int fault_twice_at_once() {
  no_core();
  const struct sigaction theirs = handler_action(
      [](int, siginfo_t*, void*) {
        if (++calls_of_one_shot == 2) {
          _exit(22);
        }
        usleep(30'000);  // the other thread's turn
        _exit(11);
      },
      static_cast<int>(SA_RESETHAND));
  sigaction(SIGSEGV, &theirs, nullptr);
  require(handler::install() == 0, "install");
  std::atomic<int> waiting{2};
  const auto fault = [&] {
    --waiting;
    while (waiting != 0) {
    }
    *wild(16) = 1;
  };
  std::thread other(fault);
  fault();
  other.join();
  return 1;
}

}  // namespace

GROWSTACK_SCENARIO("one-shot handler of two threads") {
  for (int round = 0; round < 500; ++round) {
    const int end = end_of_child(fault_twice_at_once);
    if (end != 11 && end != killed_by(SIGSEGV)) {
      std::printf("%d in round %d\n", end, round);
      return 1;
    }
  }
  return 7;
}

TEST_CASE("a one-shot handler is called once although two threads fault at the same time") {
  const Ended ended = run_scenario("one-shot handler of two threads");
  CAPTURE(ended.out);
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("earlier handler jumps out") {
  static sigjmp_buf back;
  const struct sigaction theirs =
      handler_action([](int, siginfo_t*, void*) { siglongjmp(back, 1); }, SA_ONSTACK);
  sigaction(SIGSEGV, &theirs, nullptr);
  static volatile int jumps = 0;
  const std::size_t frames = call(small, [] {
    while (jumps < 100) {
      if (sigsetjmp(back, 1) == 0) {
        *wild(16) = 1;
      }
      jumps = jumps + 1;
    }
    return recurse(20000);
  });
  return frames == 20000 ? 7 : 1;
}

TEST_CASE(
    "a handler that leaves by siglongjmp leaves nothing of ours behind, a hundred times over") {
  CHECK(run_scenario("earlier handler jumps out").exit_code == 7);
}

GROWSTACK_SCENARIO("sent signal interrupts a system call as before") {
  // Their handler has no SA_RESTART, so a read() must end with EINTR although our handler comes
  // first.
  struct sigaction theirs = handler_action([](int, siginfo_t*, void*) {});
  sigaction(SIGSEGV, &theirs, nullptr);
  return call(small, [] {
    int ends[2];
    if (pipe(ends) != 0) {
      return 1;
    }
    const pthread_t reader = pthread_self();
    std::thread sender([=] {
      for (int attempt = 0; attempt < 50; ++attempt) {
        usleep(20'000);
        pthread_kill(reader, SIGSEGV);
      }
    });
    char byte = 0;
    const ssize_t got = read(ends[0], &byte, 1);
    const int error = errno;
    sender.join();
    return got == -1 && error == EINTR ? 7 : 1;
  });
}

TEST_CASE("system calls are interrupted or restarted as the handler before ours asked for") {
  CHECK(run_scenario("sent signal interrupts a system call as before").exit_code == 7);
}

// ---- install and uninstall ----------------------------------------------------------------------

GROWSTACK_SCENARIO("uninstall puts everything back") {
  const auto next_descriptor = [] {
    const int descriptor = dup(0);
    close(descriptor);
    return descriptor;
  };
  struct sigaction theirs = handler_action([](int, siginfo_t*, void*) { _exit(7); }, SA_NODEFER);
  sigaddset(&theirs.sa_mask, SIGUSR1);
  sigaction(SIGSEGV, &theirs, nullptr);
  const int descriptor_before = next_descriptor();
  for (int round = 0; round < 3; ++round) {
    if (call(small, [] { return recurse(20000); }) != 20000 || !handler::installed() ||
        thread_count() != 3) {
      return 1;
    }
    if (handler::uninstall() != 0 || handler::installed() || !threads_come_down_to(1) ||
        next_descriptor() != descriptor_before) {
      return 2;
    }
    struct sigaction now {};
    sigaction(SIGSEGV, nullptr, &now);
    if (now.sa_sigaction != theirs.sa_sigaction ||
        (now.sa_flags & ~0x04000000) != theirs.sa_flags ||
        sigismember(&now.sa_mask, SIGUSR1) != 1) {
      return 3;
    }
  }
  *wild(16) = 1;
  return 4;
}

TEST_CASE(
    "uninstall puts handler, threads and descriptors back, and all of it can be started again") {
  if (under_thread_sanitizer) {
    skip("ThreadSanitizer has a thread of its own");
    return;
  }
  const Ended ended = run_scenario("uninstall puts everything back");
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("uninstall in use") {
  const Stack stack(small);
  return handler::uninstall() == EBUSY && handler::installed() ? 7 : 1;
}

TEST_CASE("uninstall is refused while there are stacks") {
  CHECK(run_scenario("uninstall in use").exit_code == 7);
}

GROWSTACK_SCENARIO("a later handler that chains to ours") {
  no_core();
  static struct sigaction ours;
  recurse(1);
  { const Stack stack(small); }
  struct sigaction theirs = handler_action(
      [](int signal, siginfo_t* info, void* context) { ours.sa_sigaction(signal, info, context); },
      SA_ONSTACK);
  sigaction(SIGSEGV, &theirs, &ours);
  if (call(small, [] { return recurse(20000); }) != 20000) {
    return 1;
  }
  // Ours cannot be taken away, because theirs calls it.
  return handler::uninstall() == EPERM && !handler::installed() ? 7 : 2;
}

TEST_CASE(
    "stacks go on growing under a later handler that chains to ours, and uninstall leaves ours in "
    "its chain") {
  CHECK(run_scenario("a later handler that chains to ours").exit_code == 7);
}

GROWSTACK_SCENARIO("errno survives growth") {
  return call(small, [] {
    errno = 1234;
    recurse(20000);
    return errno == 1234 ? 7 : 1;
  });
}

TEST_CASE("growth does not touch errno") {
  CHECK(run_scenario("errno survives growth").exit_code == 7);
}

// ---- process 1 of a container -------------------------------------------------------------------

namespace {

/// Runs body() as process 1 of a new process namespace, and meanwhile outside(its id here) in the
/// process that made it. Returns how process 1 ended, or -1 if there can be no such namespace.
template <class Body, class Outside>
int end_of_process_one(const Body& body, const Outside& outside) {
  if (unshare(CLONE_NEWPID) != 0) {
    return -1;
  }
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    _exit(body());
  }
  outside(child);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : killed_by(WTERMSIG(status));
}

int print_end_of_process_one(
    int (*body)(), void (*outside)(pid_t) = [](pid_t) {}) {
  no_core();
  std::printf("%d\n", end_of_process_one(body, outside));
  return 0;
}

/// Returns what print_end_of_process_one() printed, or skips.
std::string end_seen_by(const char* scenario) {
  const Ended ended = run_scenario(scenario);
  if (ended.out == "-1\n") {
    skip("needs the privilege to make a process namespace");
  }
  return ended.out;
}

/// Sends a signal to this thread while its stack pointer is too close above memory without
/// permissions for the signal's frame.
void lose_a_signal() {
  std::signal(SIGUSR1, [](int) {});  // without SA_ONSTACK
  const std::size_t page = growstack::handler::page_size();
  auto* const memory = static_cast<char*>(
      mmap(nullptr, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  mprotect(memory, page, PROT_NONE);
  machine::system_call_with_stack_pointer(memory + page + 512, SYS_tgkill, getpid(),
                                          syscall(SYS_gettid), SIGUSR1);
}

/// Goes on growing after a signal was sent, with our handler still in place.
int go_on(const Stack& stack, volatile bool& stop) {
  while (!stop) {
    usleep(1000);
  }
  static_cast<void>(stack);
  return handler::installed() && call(small, [] { return recurse(20000); }) == 20000 ? 7 : 1;
}

}  // namespace

GROWSTACK_SCENARIO("process 1 crashes") {
  return print_end_of_process_one([] {
    Stack stack(small);
    call(stack, [] { *wild(16) = 1; });
    return 1;
  });
}

GROWSTACK_SCENARIO("process 1 loses a signal") {
  return print_end_of_process_one([] {
    Stack stack(small);
    lose_a_signal();
    return 1;
  });
}

GROWSTACK_SCENARIO("process 1 sends itself a SIGSEGV") {
  return print_end_of_process_one([] {
    Stack stack(small);
    raise(SIGSEGV);
    volatile bool stop = true;
    return go_on(stack, stop);
  });
}

GROWSTACK_SCENARIO("process 1 is sent a SIGSEGV from outside") {
  static volatile bool stop = false;
  return print_end_of_process_one(
      [] {
        std::signal(SIGUSR1, [](int) { stop = true; });
        Stack stack(small);
        return go_on(stack, stop);
      },
      [](pid_t child) {
        usleep(300'000);
        kill(child, SIGSEGV);
        usleep(100'000);
        kill(child, SIGUSR1);
      });
}

TEST_CASE("a crash kills process 1 of a container") {
  const std::string ended = end_seen_by("process 1 crashes");
  CHECK((skipped() || ended == std::to_string(killed_by(SIGSEGV)) + "\n"));
}

TEST_CASE("a signal for whose frame an ordinary stack has no room kills process 1 as well") {
  const std::string ended = end_seen_by("process 1 loses a signal");
  CHECK((skipped() || ended == std::to_string(killed_by(SIGSEGV)) + "\n"));
}

TEST_CASE(
    "process 1 survives a SIGSEGV that somebody sends, as the kernel promises, and grows on") {
  for (const char* const scenario :
       {"process 1 sends itself a SIGSEGV", "process 1 is sent a SIGSEGV from outside"}) {
    CAPTURE(scenario);
    const std::string ended = end_seen_by(scenario);
    CHECK((skipped() || ended == "7\n"));
  }
}

GROWSTACK_SCENARIO("sent where the action cannot be changed") {
  no_core();
  Stack stack(small);
  InjectedError injected = InjectedError::for_good();
  injected.refuse(SYS_rt_sigaction, EPERM);
  raise(SIGSEGV);
  return 1;
}

TEST_CASE("a SIGSEGV that is sent kills although a filter forbids to restore the default action") {
  check_silent_crash(run_scenario("sent where the action cannot be changed"));
}

GROWSTACK_SCENARIO("crash where the action cannot be changed") {
  no_core();
  alarm(20);
  Stack stack(small);
  InjectedError injected = InjectedError::for_good();
  injected.refuse(SYS_rt_sigaction, EPERM);
  *wild(16) = 1;
  return 1;
}

TEST_CASE("a crash kills although a filter forbids to restore the default action") {
  check_silent_crash(run_scenario("crash where the action cannot be changed"));
}

GROWSTACK_SCENARIO("sent where no signal can be queued") {
  no_core();
  Stack stack(small);
  InjectedError injected = InjectedError::for_good();
  injected.refuse(SYS_rt_tgsigqueueinfo, EPERM);
  kill(getpid(), SIGSEGV);
  return 1;
}

TEST_CASE("a SIGSEGV that is sent kills although a filter forbids to send it again") {
  check_silent_crash(run_scenario("sent where no signal can be queued"));
}

// ---- broken memory ------------------------------------------------------------------------------

namespace {

/// Sends what the kernel sends to a process of which a page is broken that nobody has touched.
void send_word_about_broken_memory() {
  siginfo_t word{};
  word.si_signo = SIGBUS;
  word.si_code = BUS_MCEERR_AO;
  require(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS, &word) == 0, "a signal");
}

}  // namespace

GROWSTACK_SCENARIO("a word about broken memory, ignored") {
  signal(SIGBUS, SIG_IGN);
  require(handler::install(SIGBUS) == 0, "install");
  send_word_about_broken_memory();
  send_word_about_broken_memory();
  return 7;
}
GROWSTACK_SCENARIO("a word about broken memory") {
  no_core();
  require(handler::install(SIGBUS) == 0, "install");
  send_word_about_broken_memory();
  return 1;
}

TEST_CASE(
    "a word about broken memory that nobody has touched is no fault: it can be ignored, and kills "
    "who does not") {
  CHECK(run_scenario("a word about broken memory, ignored").exit_code == 7);
  CHECK(run_scenario("a word about broken memory").signal == SIGBUS);
}
