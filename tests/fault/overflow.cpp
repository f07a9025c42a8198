// The end of a stack: one raw line at once, then a trace with names and lines, then the same death
// as without us.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "support/alternate_stack.hpp"
#include "support/bare_system_call.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/recursion.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <latch>
#include <new>
#include <string>
#include <thread>
#include <vector>

using namespace growstack;
using namespace growstack::testing;

namespace {

StackOptions doomed(std::size_t reserve = MiB, Strategy strategy = Strategy::pipe_helper) {
  return {.reserve = reserve, .strategy = strategy, .name = "doomed"};
}

void block_sigsegv() {
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGSEGV);
  pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
}

/// Returns the number of the first line of this file that has `text` in it.
int line_of(const std::string& text) {
  std::FILE* const source = std::fopen(__FILE__, "re");
  if (source == nullptr) {
    return 0;
  }
  char line[512];
  int number = 0;
  int found = 0;
  while (found == 0 && std::fgets(line, sizeof line, source) != nullptr) {
    ++number;
    if (contains(line, text)) {
      found = number;
    }
  }
  std::fclose(source);
  return found;
}

}  // namespace

// Not constant, because a compiler warns of a recursion that has no end.
volatile int endless = 1;

[[gnu::noinline]] int runaway(int depth) {
  if (endless == 0) {
    return depth;
  }
  volatile char room[100];
  keep(room);
  room[0] = static_cast<char>(depth);
  const int deeper = runaway(depth + 1);  // marks the line of runaway's call
  return deeper + room[0];
}

[[gnu::noinline]] int begins_runaway() {
  const int result = runaway(0);  // marks the line that begins it
  return result + 1;
}

int pong(int depth);
[[gnu::noinline]] int ping(int depth) {
  if (endless == 0) {
    return depth;
  }
  volatile char room[100];
  keep(room);
  room[0] = static_cast<char>(depth);
  return pong(depth + 1) + room[0];
}
[[gnu::noinline]] int pong(int depth) {
  volatile char room[150];
  keep(room);
  room[0] = static_cast<char>(depth);
  return ping(depth + 1) + room[0];
}

// ---- the message and the trace ------------------------------------------------------------------

GROWSTACK_SCENARIO("overflow") {
  no_core();
  std::thread([] {
    pthread_setname_np(pthread_self(), "worker-7");
    std::printf("%d\n", static_cast<int>(gettid()));
    std::fflush(stdout);
    call(doomed(), begins_runaway);
  }).join();
  return 0;
}

TEST_CASE(
    "an overflow names thread, stack, sizes, "
    "fault address and stack pointer in one line, then dies of SIGSEGV") {
  const Ended ended = run_scenario("overflow");
  CHECK(ended.signal == SIGSEGV);
  const std::string thread_id = ended.out.substr(0, ended.out.find('\n'));
  const std::string first_line = ended.err.substr(0, ended.err.find('\n'));
  CHECK(matches(first_line, "^growstack: stack overflow: thread " + thread_id +
                                " \"worker-7\", stack \"doomed\", "
                                "reserved 1048576 bytes, committed 1048576, "
                                "fault address 0x[0-9a-f]+, stack pointer 0x[0-9a-f]+$"));
}

TEST_CASE("the trace tells which function ran away, at which line, how often, and who began it") {
  const std::string trace = run_scenario("overflow").err;
  const std::string file = "overflow\\.cpp:";
  const std::string call_line = std::to_string(line_of("marks the line of runaway's call"));
  const std::string begin_line = std::to_string(line_of("marks the line that begins it"));
  CHECK(matches(trace, "#0 +runaway\\(int\\) at .*" + file));
  CHECK(
      matches(trace, "runaway\\(int\\) at .*" + file + call_line + "  \\([0-9],[0-9]{3} times\\)"));
  CHECK(matches(trace, "begins_runaway\\(\\) at .*" + file + begin_line + "\n"));
  const auto count_lines = std::count(trace.begin(), trace.end(), '\n');
  CHECK_MESSAGE(count_lines < 20, "thousands of frames are folded into a few lines");
}

GROWSTACK_SCENARIO("mutual recursion") {
  no_core();
  call(doomed(), ping, 0);
  return 0;
}

TEST_CASE("two functions that call each other are one cycle with a count") {
  const Ended ended = run_scenario("mutual recursion");
  CHECK(ended.signal == SIGSEGV);
  CHECK(matches(ended.err, "\\(these 2 frames [0-9,]+ times\\)"));
}

GROWSTACK_SCENARIO("overflow of a deep stack") {
  no_core();
  // More frames than a report keeps, and more than ThreadSanitizer has room for.
  call(doomed(256 * MiB), begins_runaway);
  return 0;
}

TEST_CASE("a trace of millions of frames shows both ends, and how many frames lie between") {
  if (under_thread_sanitizer) {
    skip("ThreadSanitizer dies of recursion deeper than 60,000 frames");
    return;
  }
  const Ended ended = run_scenario("overflow of a deep stack");
  CHECK(ended.signal == SIGSEGV);
  CHECK(matches(ended.err, "\\([0-9,]+ frames in between are not shown\\)"));
  CHECK(contains(ended.err, "begins_runaway()"));
}

namespace {
int overflow_of(const Traits& of) {
  no_core();
  call(doomed(MiB, of.strategy), begins_runaway);
  return 0;
}
const ScenarioOfEach<overflow_of> overflows("overflow");
}  // namespace

STRATEGIES_WHERE(traits.guarded, "every strategy's overflow is reported the same way") {
  const Ended ended = run_scenario_of("overflow", Of::traits);
  CHECK(ended.signal == signal_of_overflow(Of::strategy));
  CHECK(contains(ended.err, "stack overflow: thread"));
  CHECK(contains(ended.err, "begins_runaway()"));
}

GROWSTACK_SCENARIO("exactly to the floor") {
  no_core();
  Stack stack(doomed());
  const std::size_t reserved = stack.reserved();
  call(stack, [&] {
    const auto bounds = current_stack_bounds();
    if (!bounds) {
      _exit(1);
    }
    char* const floor = static_cast<char*>(bounds->floor);
    const auto descend = [&](auto self) -> void {
      volatile char room[512];
      room[0] = 1;
      if (const_cast<char*>(room) - floor > 6000) {  // a sanitizer's calls need room, too
        self(self);
      } else {
        *static_cast<volatile char*>(floor) = 1;
      }
      room[1] = 2;
    };
    descend(descend);
  });
  return stack.committed() == reserved ? 7 : 2;
}

TEST_CASE("the whole reserve can be used, and a touch of the floor itself is no overflow") {
  const Ended ended = run_scenario("exactly to the floor");
  CHECK(ended.exit_code == 7);
  CHECK(ended.err.empty());
}

// ---- what must not get in the way ---------------------------------------------------------------

namespace {
std::atomic<bool> allocator_is_locked{false};
}

// Every allocation of this program comes here, also those of the symbolizer.
[[gnu::noinline]] void* operator new(std::size_t size) {
  while (allocator_is_locked) {
    usleep(1000);
  }
  void* const memory = std::malloc(size);
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

GROWSTACK_SCENARIO("allocator locked") {
  no_core();
  // Stands for an overflow inside malloc, which holds the allocator's lock.
  call(doomed(), [] {
    allocator_is_locked = true;
    begins_runaway();
  });
  return 0;
}

TEST_CASE(
    "a lock held by the overflowing thread does not hang the report: "
    "raw addresses are written after a while") {
  const Ended ended = run_scenario("allocator locked");
  CHECK_FALSE(ended.timed_out);
  CHECK(ended.signal == SIGSEGV);
  CHECK(contains(ended.err, "stack overflow: thread"));
  CHECK(matches(ended.err, "the innermost 32 of [0-9]+ frames:\n  #0  0x[0-9a-f]+\n"));
}

GROWSTACK_SCENARIO("two overflows at once") {
  no_core();
  std::latch together(4);
  std::vector<std::thread> threads;
  for (int index = 0; index < 4; ++index) {
    threads.emplace_back([&] {
      together.arrive_and_wait();
      call(doomed(), begins_runaway);
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  return 0;
}

TEST_CASE("several threads that overflow at once leave one whole trace before the process dies") {
  const Ended ended = run_scenario("two overflows at once");
  CHECK(ended.signal == SIGSEGV);
  CHECK(contains(ended.err, "begins_runaway()"));
  CHECK(contains(ended.err, "growstack: trace of the stack"));
}

GROWSTACK_SCENARIO("overflow in a forked child") {
  no_core();
  Stack stack(doomed());
  const int end = end_of_child([&] {
    call(stack, begins_runaway);
    return 0;
  });
  return end == killed_by(SIGSEGV) ? 7 : 1;
}

TEST_CASE("a forked child, which has no symbolizer, reports its overflow with raw addresses") {
  const Ended ended = run_scenario("overflow in a forked child");
  CHECK(ended.exit_code == 7);
  CHECK(contains(ended.err, "stack overflow: thread"));
  CHECK(contains(ended.err, "  #0  0x"));
}

GROWSTACK_SCENARIO("earlier handler sees the overflow") {
  struct sigaction theirs {};
  theirs.sa_sigaction = [](int, siginfo_t* info, void*) {
    _exit(info->si_code == SEGV_ACCERR ? 7 : 1);
  };
  theirs.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &theirs, nullptr);
  call(doomed(), begins_runaway);
  return 0;
}

TEST_CASE("a crash reporter installed before ours is called after our report") {
  const Ended ended = run_scenario("earlier handler sees the overflow");
  CHECK(ended.exit_code == 7);
  CHECK(contains(ended.err, "begins_runaway()"));
}

GROWSTACK_SCENARIO("standard error closed") {
  no_core();
  close(STDERR_FILENO);
  call(doomed(), begins_runaway);
  return 0;
}

TEST_CASE("with standard error closed the process still dies of SIGSEGV") {
  const Ended ended = run_scenario("standard error closed");
  CHECK_FALSE(ended.timed_out);
  CHECK(ended.signal == SIGSEGV);
}

GROWSTACK_SCENARIO("standard error buffered") {
  no_core();
  static char buffer[64 * KiB];
  std::setvbuf(stderr, buffer, _IOFBF, sizeof buffer);
  call(doomed(), begins_runaway);
  return 0;
}

TEST_CASE("the trace does not stay in the buffer of a program that has buffered standard error") {
  const Ended ended = run_scenario("standard error buffered");
  CHECK(ended.signal == SIGSEGV);
  CHECK(contains(ended.err, "begins_runaway()"));
}

GROWSTACK_SCENARIO("thread not attached") {
  no_core();
  call(doomed(), [] {
    take_alternate_stack_away();  // as in a thread that nobody has attached
    recurse(2000);
  });
  return 0;
}

TEST_CASE(
    "on a thread without an alternate stack the first growth kills silently, so attach every "
    "thread") {
  const Ended ended = run_scenario("thread not attached");
  CHECK(ended.signal == SIGSEGV);
  CHECK(ended.err.empty());
}

GROWSTACK_SCENARIO("growth with SIGSEGV blocked") {
  no_core();
  call(doomed(), [] {
    block_sigsegv();
    recurse(2000);
  });
  return 0;
}

GROWSTACK_SCENARIO("call with SIGSEGV blocked") {
  block_sigsegv();
  return call(doomed(), [] { return recurse(2000); }) == 2000 ? 7 : 1;
}

TEST_CASE("a thread that has blocked every signal is attached with SIGSEGV unblocked") {
  CHECK(run_scenario("call with SIGSEGV blocked").exit_code == 7);
}

TEST_CASE("with SIGSEGV blocked the kernel kills at the first growth without asking the handler") {
  const Ended ended = run_scenario("growth with SIGSEGV blocked");
  CHECK(ended.signal == SIGSEGV);
  CHECK(ended.err.empty());
}

// ---- signals that find no room ------------------------------------------------------------------

GROWSTACK_SCENARIO("signal frame does not fit") {
  // The handler has no SA_ONSTACK, and the stack pointer is just above the limit.
  static volatile sig_atomic_t delivered = 0;
  struct sigaction plain {};
  plain.sa_handler = [](int) { delivered = delivered + 1; };
  sigaction(SIGUSR1, &plain, nullptr);
  Stack stack({.reserve = MiB, .policy = {.headroom = 0}});
  const auto counted = handler::counters().lost_signal_frame;
  call(stack, [] {
    const auto bounds = current_stack_bounds();
    if (!bounds) {
      _exit(1);
    }
    // Goes down to a few hundred bytes above the limit, and sends one signal there by a bare system
    // call, because a call of libc would use stack itself.
    const pid_t thread = gettid();
    const auto descend = [&](auto self) -> void {
      volatile char room[64];
      room[0] = 1;
      if (const_cast<char*>(room) - static_cast<char*>(bounds->limit) > 700) {
        self(self);
      } else {
        bare_system_call(SYS_tkill, thread, SIGUSR1);
      }
      room[1] = 2;
    };
    descend(descend);
    raise(SIGUSR1);  // here its frame has room again
  });
  std::printf("%d delivered, %d lost\n", static_cast<int>(delivered),
              static_cast<int>(handler::counters().lost_signal_frame - counted));
  return 0;
}

TEST_CASE(
    "the kernel loses a signal whose frame does not fit, we count it, and the thread lives on") {
  const Ended ended = run_scenario("signal frame does not fit");
  CHECK(ended.exit_code == 0);
  CHECK(ended.out == "1 delivered, 1 lost\n");
}

// ---- a report that does not end -----------------------------------------------------------------

namespace {

/// Replaces standard error by a pipe that nobody empties, and returns the end to empty it by.
int stuck_standard_error() {
  int ends[2];
  if (pipe(ends) != 0) {
    return -1;
  }
  fcntl(ends[1], F_SETPIPE_SZ, 4096);
  dup2(ends[1], STDERR_FILENO);
  return ends[0];
}

/// A cycle of so many functions that no trace folds it.
template <int functions>
[[gnu::noinline]] int long_runaway(int depth) {
  if (endless == 0) {
    return depth;
  }
  volatile char room[64];
  keep(room);
  room[0] = static_cast<char>(depth);
  constexpr int next = functions == 0 ? 200 : functions - 1;
  // The number keeps the compiler from making one function of all of them.
  return long_runaway<next>(depth + functions) + room[0];
}

/// Overflows in a thread of its own, with a trace that fills the pipe, and returns when the thread
/// waits for its report, which does not end.
void begin_endless_report(Stack& stack) {
  std::thread([&stack] { call(stack, long_runaway<200>, 0); }).detach();
  usleep(1'000'000);
}

}  // namespace

GROWSTACK_SCENARIO("forked while a thread reports") {
  no_core();
  const int console = dup(STDERR_FILENO);
  static Stack mine(doomed());
  static Stack theirs(doomed());
  stuck_standard_error();
  begin_endless_report(theirs);
  const int end = end_of_child([&] {
    dup2(console, STDERR_FILENO);
    call(mine, begins_runaway);
    return 1;
  });
  _exit(end == killed_by(SIGSEGV) ? 7 : 1);
}

TEST_CASE("a child that is forked while another thread reports can report, too") {
  const Ended ended = run_scenario("forked while a thread reports");
  CHECK(ended.exit_code == 7);
  CHECK(matches(ended.err, "the innermost 32 of [0-9]+ frames:\n  #0  0x[0-9a-f]+\n"));
}

GROWSTACK_SCENARIO("uninstall while a report does not end") {
  static sigjmp_buf way_out;
  struct sigaction theirs {};
  theirs.sa_handler = [](int) { siglongjmp(way_out, 1); };
  theirs.sa_flags = SA_ONSTACK;
  sigaction(SIGSEGV, &theirs, nullptr);
  stuck_standard_error();
  {
    Stack stack(doomed());
    if (sigsetjmp(way_out, 1) == 0) {
      call(stack, long_runaway<200>, 0);
    }
  }
  const bool gone = handler::uninstall() == 0;
  // Another symbolizer takes over. The stuck one does not answer in its place.
  const bool works = call(doomed(), [] { return recurse(100); }) == 100;
  // Not by exit(), which would wait for the symbolizer to give back standard error.
  _exit(gone && works && handler::uninstall() == 0 ? 7 : 1);
}

TEST_CASE("uninstall does not wait for ever for a report that nobody reads") {
  if (under_address_sanitizer) {
    return skip("AddressSanitizer itself writes to standard error");
  }
  const Ended ended = run_scenario("uninstall while a report does not end");
  CHECK_FALSE(ended.timed_out);
  CHECK(ended.exit_code == 7);
}
