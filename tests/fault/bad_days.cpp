// Bad days: processes and threads that end in the middle of something, programs that take things
// away, and reports that nobody reads.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/is_readable.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/handler/ranges.hpp>

#include "support/address_of.hpp"
#include "support/injected_error.hpp"
#include "support/limits.hpp"
#include "support/recursion.hpp"
#include "support/scenario.hpp"
#include "support/system_call_filter.hpp"
#include "support/units.hpp"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <csetjmp>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <thread>
#include <vector>

using namespace growstack;
using namespace growstack::testing;

namespace {

const StackOptions options{.reserve = 32 * MiB, .name = "bad day"};
const StackOptions doomed{.reserve = MiB, .name = "doomed"};

bool grows() {
  return call(options, [] { return recurse(10'000); }) == 10'000;
}

/// Runs body() in a forked child. Returns the signal that ended the child, or 0. Returns -1 if the
/// child had to be killed after `patience`. SIGALRM would not end it, because it may hang in our
/// handler, where all signals are blocked.
template <class Body>
int signal_of_child(const Body& body, std::chrono::seconds patience) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(0);
  }
  const auto deadline = std::chrono::steady_clock::now() + patience;
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > deadline) {
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      return -1;
    }
    usleep(10'000);
  }
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

}  // namespace

// ---- how processes and threads end --------------------------------------------------------------

GROWSTACK_SCENARIO("exit inside a call") {
  std::atexit(
      [] { std::puts(recurse(10'000) == 10'000 && grows() ? "handlers ran" : "handlers failed"); });
  call(options, [] { std::exit(7); });
  return 1;
}

TEST_CASE("exit() inside a call runs its handlers on the growable stack, which goes on growing") {
  if (under_address_sanitizer) {
    skip("LeakSanitizer counts what the frames left by exit() own");
    return;
  }
  const Ended ended = run_scenario("exit inside a call");
  CHECK(ended.exit_code == 7);
  CHECK(ended.out == "handlers ran\n");
}

namespace {
struct GrowsWhenDestroyed {
  const char* when;
  ~GrowsWhenDestroyed() { std::printf("%s: %s\n", when, grows() ? "grew" : "failed"); }
};
}  // namespace

GROWSTACK_SCENARIO("destructors of static and thread_local objects") {
  static const GrowsWhenDestroyed at_exit{"static object"};
  std::thread([] {
    thread_local const GrowsWhenDestroyed at_thread_end{"thread_local object"};
    // Made before the thread is attached, so destroyed after whatever that makes.
    static_cast<void>(at_thread_end.when);
    grows();
  }).join();
  std::fflush(stdout);
  return 7;
}

TEST_CASE("destructors of static and thread_local objects can still use stacks") {
  const Ended ended = run_scenario("destructors of static and thread_local objects");
  CHECK(ended.exit_code == 7);
  CHECK(contains(ended.out, "thread_local object: grew"));
}

GROWSTACK_SCENARIO("static stack") {
  static Stack stack(options);
  static std::unique_ptr<Stack> another = std::make_unique<Stack>(options);
  return call(stack, [] { return recurse(10'000); }) == 10'000 ? 7 : 1;
}

TEST_CASE("a stack with static storage is released after main without harm") {
  CHECK(run_scenario("static stack").exit_code == 7);
}

TEST_CASE("a stack may be released by another thread than the one that made it") {
  auto stack = std::make_unique<Stack>(options);
  call(*stack, [] { recurse(10'000); });
  std::thread([&] { stack.reset(); }).join();
  CHECK(process_counters().stacks == 0);
  CHECK(process_counters().arenas == 0);
}

GROWSTACK_SCENARIO("longjmp out of a call") {
  static jmp_buf out;
  {
    Stack left(options);
    if (setjmp(out) == 0) {
      call(left, [] { longjmp(out, 1); });
    }
  }
  return grows() ? 7 : 1;  // in the same slot
}

TEST_CASE("a longjmp out of a call, which is not allowed, does not harm the next stack") {
  if (under_thread_sanitizer || under_address_sanitizer) {
    skip("a sanitizer loses track of the stack");
    return;
  }
  CHECK(run_scenario("longjmp out of a call").exit_code == 7);
}

GROWSTACK_SCENARIO("call on the alternate stack") {
  struct sigaction action {};
  action.sa_handler = [](int) {
    try {
      grows();
      _exit(1);
    } catch (const std::system_error& error) {
      _exit(error.code().value() == EPERM ? 7 : 2);
    }
  };
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR1, &action, nullptr);
  grows();
  raise(SIGUSR1);
  return 3;
}

TEST_CASE(
    "a call from a handler that runs on the alternate stack is refused, because a fault would "
    "overwrite that handler") {
  CHECK(run_scenario("call on the alternate stack").exit_code == 7);
}

// ---- what programs take away --------------------------------------------------------------------

GROWSTACK_SCENARIO("somebody restores the default action") {
  struct sigaction before {};
  sigaction(SIGSEGV, nullptr, &before);
  const bool first = grows();
  sigaction(SIGSEGV, &before, nullptr);  // as crash reporters do when they are switched off
  return first && grows() && handler::installed() ? 7 : 1;
}

TEST_CASE(
    "when somebody has restored the default action, the next stack installs the handler anew") {
  CHECK(run_scenario("somebody restores the default action").exit_code == 7);
}

GROWSTACK_SCENARIO("uninstall while stacks are made") {
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) {
      static_cast<void>(handler::uninstall());
    }
  });
  bool good = true;
  // Each round may start all threads anew, which takes 50 ms under a sanitizer.
  const int rounds = sanitized ? 100 : 1000;
  for (int round = 0; round < rounds; ++round) {
    good = grows() && good;
  }
  stop = true;
  other.join();
  return good ? 7 : 1;
}

TEST_CASE("uninstall cannot pull the handler away from a stack that is being made") {
  CHECK(run_scenario("uninstall while stacks are made").exit_code == 7);
}

GROWSTACK_SCENARIO("own guard page within the stack") {
  no_core();
  return call(options, [] {
    recurse(10'000);  // touches the page, so that the page tables have it
    const auto bounds = current_stack_bounds();
    if (!bounds) {
      return 1;
    }
    char* const guard = static_cast<char*>(bounds->base) - 64 * handler::page_size();
    if (mprotect(guard, handler::page_size(), PROT_NONE) != 0) {
      return 2;
    }
    volatile char* const touched = guard;
    *touched = 1;
    return 3;
  });
}

TEST_CASE(
    "a page that the program made inaccessible within its stack stays a guard page of its own") {
  const Ended ended = run_scenario("own guard page within the stack");
  CHECK(ended.signal == SIGSEGV);
  CHECK(ended.err.empty());
}

GROWSTACK_SCENARIO("helper killed") {
  Stack stack(options);
  // The filter kills the thread that wakes all waiters of a futex: the helper, when it answers.
  SystemCallFilter filter;
  filter.add(SCMP_ACT_KILL_THREAD, SYS_futex,
             {argument_is(1, FUTEX_WAKE_PRIVATE), argument_is(2, INT_MAX)});
  filter.install_for_all_threads();
  const bool grew = call(stack, [] { return recurse(10'000); }) == 10'000;
  // The helper died of the first fault. The others were served without it, and did not wait.
  const handler::Counters seen = handler::counters();
  // At once, because the end of the stack wakes a thread, too, and the filter would kill who does.
  std::_Exit(grew && seen.helper_missing > 0 && seen.by_helper <= 1 ? 7 : 1);
}

TEST_CASE(
    "a helper that is killed while a thread waits for it hangs neither that thread nor the next") {
  const Ended ended = run_scenario("helper killed", std::chrono::seconds(20));
  if (ended.exit_code == no_filters) {
    skip("seccomp filters are not available");
    return;
  }
  CHECK_FALSE(ended.timed_out);
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("no descriptor for /proc/self/maps") {
  std::uintptr_t base = 0;
  {
    Stack stack({.reserve = MiB, .strategy = Strategy::grows_down});
    base = reinterpret_cast<std::uintptr_t>(stack.base());
    set_both_limits(RLIMIT_NOFILE, 0);
    call(stack, [] { recurse(10); });
    if (stack.committed() < 4096) {
      return 1;
    }
  }
  unsigned char residency = 0;
  void* const top = reinterpret_cast<void*>(base - handler::page_size());
  return mincore(top, handler::page_size(), &residency) == -1 && errno == ENOMEM ? 7 : 2;
}

TEST_CASE("when /proc cannot be read, grows_down reports and releases what is surely its own") {
  if (under_address_sanitizer) {
    skip("LeakSanitizer needs descriptors");
    return;
  }
  CHECK(run_scenario("no descriptor for /proc/self/maps").exit_code == 7);
}

GROWSTACK_SCENARIO("all memory locked") {
  for (const Strategy strategy :
       {Strategy::pipe_helper, Strategy::in_handler, Strategy::demand_paging}) {
    Stack stack({.reserve = 4 * MiB, .strategy = strategy});
    call(stack, [] { recurse(4'000); });
    if (mlockall(MCL_CURRENT) != 0) {
      return 8;
    }
    const std::error_code trimmed = stack.trim();
    if (trimmed || stack.resident() > 64 * KiB) {
      std::printf("%s: %s, %zu resident\n", name(strategy).data(), trimmed.message().c_str(),
                  stack.resident());
      return 1;
    }
    munlockall();
  }
  return 7;
}

TEST_CASE("locked stacks can be trimmed") {
  const Ended ended = run_scenario("all memory locked");
  if (ended.exit_code == 8) {
    skip("RLIMIT_MEMLOCK is too small for mlockall");
    return;
  }
  CHECK_MESSAGE(ended.exit_code == 7, ended.out);
}

GROWSTACK_SCENARIO("reuse after a failed decommit") {
  // When all mappings that the kernel allows are in use, nothing can be mapped over the memory of a
  // closed stack.
  auto neighbour =
      std::make_unique<Stack>(StackOptions{.reserve = 4 * MiB, .strategy = Strategy::in_handler});
  auto stack =
      std::make_unique<Stack>(StackOptions{.reserve = 4 * MiB, .strategy = Strategy::in_handler});
  call(*stack, [] { recurse(10'000); });
  std::vector<void*> fillers;
  for (;;) {
    // The kernel does not merge neighbours with different permissions.
    void* const filler =
        mmap(nullptr, handler::page_size(), fillers.size() % 2 == 0 ? PROT_READ : PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (filler == MAP_FAILED) {
      break;
    }
    fillers.push_back(filler);
  }
  stack.reset();
  for (void* const filler : fillers) {
    munmap(filler, handler::page_size());
  }
  // It has the same slot size, and its guard is where the deep stack was.
  const std::size_t guard = 2 * MiB + 64 * KiB;
  Stack next({.reserve = 2 * MiB, .guard = guard, .strategy = Strategy::in_handler});
  const char* const floor = static_cast<const char*>(next.floor());
  std::size_t readable = 0;
  for (std::size_t below = handler::page_size(); below <= guard; below += handler::page_size()) {
    // EFAULT where nothing may be read.
    readable += write(STDOUT_FILENO, floor - below, 1) == 1 ? 1 : 0;
  }
  return readable == 0 ? 7 : 1;
}

TEST_CASE(
    "a stack whose memory could not be given back leaves no hole in the guard of the next one") {
  CHECK(run_scenario("reuse after a failed decommit").exit_code == 7);
}

GROWSTACK_SCENARIO("nothing can be given back") {
  const StackOptions of_4_mib{.reserve = 4 * MiB, .strategy = Strategy::in_handler};
  trim();
  {
    const Stack neighbour(of_4_mib);
    auto lost = std::make_unique<Stack>(of_4_mib);
    const void* const base = lost->base();
    InjectedError::in_a_thread([&](InjectedError& injected) {
      injected.refuse(SYS_mmap, ENOMEM);
      injected.refuse(SYS_mprotect, ENOMEM);
      lost.reset();
    });
    const Stack next(of_4_mib);
    require(next.base() != base, "no stack begins where the memory of another one is left");
  }
  return handler::range_count() == 0 ? 7 : 1;
}

TEST_CASE(
    "where the memory of a stack could not be given back no other one begins, and its arena is not "
    "kept") {
  if (sanitized) {
    return skip("a sanitizer has memory of its own");
  }
  const Ended ended = run_scenario("nothing can be given back");
  if (ended.exit_code == no_filters) {
    return skip("seccomp filters are not available");
  }
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("neither the stack nor its arena can be given back") {
  trim();
  std::uintptr_t lost = 0;
  {
    const StackOptions of_4_mib{.reserve = 4 * MiB, .strategy = Strategy::in_handler};
    auto neighbour = std::make_unique<Stack>(of_4_mib);
    auto stack = std::make_unique<Stack>(of_4_mib);
    lost = address_of(stack->base()) - 1;
    InjectedError::in_a_thread([&](InjectedError& injected) {
      injected.refuse(SYS_mmap, ENOMEM);
      injected.refuse(SYS_mprotect, ENOMEM);
      stack.reset();
    });
    require(handler::is_readable(lost), "its memory is left");
    InjectedError::in_a_thread([&](InjectedError& injected) {
      injected.refuse(SYS_munmap, EPERM);
      neighbour.reset();
    });
  }
  return handler::range_count() == 0 && !handler::is_readable(lost) ? 7 : 1;
}

TEST_CASE("an arena that ends leaves no memory, also if a filter refuses to unmap it") {
  if (sanitized) {
    return skip("a sanitizer has memory of its own");
  }
  const Ended ended = run_scenario("neither the stack nor its arena can be given back");
  if (ended.exit_code == no_filters) {
    return skip("seccomp filters are not available");
  }
  CHECK(ended.exit_code == 7);
}

// ---- reports that nobody reads ------------------------------------------------------------------

GROWSTACK_SCENARIO("report into a closed pipe") {
  int ends[2];
  if (pipe(ends) != 0) {
    return 1;
  }
  const int signal = signal_of_child(
      [&] {
        no_core();
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        std::thread([] { call(doomed, [] { recurse(std::size_t{1} << 30); }); }).join();
      },
      std::chrono::seconds(20));
  return signal == SIGSEGV ? 7 : signal;
}

TEST_CASE(
    "if standard error is a pipe that nobody reads any more, the process dies of SIGSEGV and not "
    "of SIGPIPE") {
  CHECK(run_scenario("report into a closed pipe").exit_code == 7);
}

GROWSTACK_SCENARIO("report into a closed pipe, and a handler") {
  struct sigaction action {};
  action.sa_handler = [](int) { _exit(22); };
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGSEGV, &action, nullptr);
  int ends[2];
  if (pipe(ends) != 0 || dup2(ends[1], STDERR_FILENO) < 0) {
    return 1;
  }
  close(ends[0]);
  std::thread([] { call(doomed, [] { recurse(std::size_t{1} << 30); }); }).join();
  return 2;
}

TEST_CASE(
    "a report that nobody reads leaves no SIGPIPE for the program's handler of the overflow") {
  CHECK(run_scenario("report into a closed pipe, and a handler").exit_code == 22);
}

GROWSTACK_SCENARIO("report into a full pipe") {
  int ends[2];
  if (pipe2(ends, O_NONBLOCK) != 0) {
    return 1;
  }
  const std::array<char, 4096> filling{};
  while (write(ends[1], filling.data(), filling.size()) > 0) {
  }
  const int flags = fcntl(ends[1], F_GETFL);
  fcntl(ends[1], F_SETFL, flags & ~O_NONBLOCK);
  const int signal = signal_of_child(
      [&] {
        no_core();
        dup2(ends[1], STDERR_FILENO);
        call(doomed, [] { recurse(std::size_t{1} << 30); });
      },
      std::chrono::seconds(20));
  return signal == SIGSEGV ? 7 : 1;
}

TEST_CASE("if standard error is a pipe that is full and stays full, the process still dies") {
  CHECK(run_scenario("report into a full pipe").exit_code == 7);
}

namespace {

/// A terminal that nobody reads, unless the test does.
class Terminal {
 public:
  Terminal() : other_end_(posix_openpt(O_RDWR | O_NOCTTY)) {
    std::array<char, 64> path{};
    const bool there = other_end_ >= 0 && grantpt(other_end_) == 0 && unlockpt(other_end_) == 0 &&
                       ptsname_r(other_end_, path.data(), path.size()) == 0;
    if (there) {
      waiting_ = open(path.data(), O_WRONLY | O_NOCTTY);
      impatient_ = open(path.data(), O_WRONLY | O_NOCTTY | O_NONBLOCK);
    }
  }

  [[nodiscard]] bool is_there() const { return waiting_ >= 0 && impatient_ >= 0; }
  /// Returns the descriptor of the terminal by which a write waits for room.
  [[nodiscard]] int descriptor() const { return waiting_; }

  [[nodiscard]] bool polls_writable() const {
    pollfd target{.fd = waiting_, .events = POLLOUT, .revents = 0};
    return poll(&target, 1, 0) == 1;
  }

  /// Writes so many letters, or fewer if there is no room for more. Returns how many.
  [[nodiscard]] std::size_t write_letters(std::size_t most) const {
    std::size_t written = 0;
    // Room appears for some time, because the kernel hands over what was written.
    for (int refusals = 0; refusals < 5 && written < most;) {
      if (write(impatient_, "-", 1) == 1) {
        ++written;
        refusals = 0;
      } else {
        ++refusals;
        usleep(20'000);
      }
    }
    return written;
  }

  /// Reads at the other end until the terminal polls writable.
  void make_room() const {
    std::array<char, 64> letters{};
    while (!polls_writable() && read(other_end_, letters.data(), letters.size()) > 0) {
      usleep(20'000);
    }
    usleep(100'000);
  }

 private:
  int other_end_;
  int waiting_ = -1;
  int impatient_ = -1;
};

/// Overflows in a child whose standard error is the terminal. Returns as signal_of_child() does.
int signal_of_overflow_to(const Terminal& terminal) {
  return signal_of_child(
      [&] {
        no_core();
        dup2(terminal.descriptor(), STDERR_FILENO);
        call(doomed, [] { recurse(std::size_t{1} << 30); });
      },
      std::chrono::seconds(30));
}

void check_death_with(const char* scenario) {
  const Ended ended = run_scenario(scenario);
  if (ended.exit_code == 8) {
    return skip("there is no terminal, or the kernel gives it room for whole lines only");
  }
  CHECK(ended.exit_code == 7);
}

}  // namespace

GROWSTACK_SCENARIO("report to a stopped terminal") {
  const Terminal terminal;
  if (!terminal.is_there() || tcflow(terminal.descriptor(), TCOOFF) != 0) {
    return 8;
  }
  return signal_of_overflow_to(terminal) == SIGSEGV ? 7 : 1;
}

TEST_CASE("if standard error is a terminal that somebody has stopped, the process still dies") {
  check_death_with("report to a stopped terminal");
}

GROWSTACK_SCENARIO("report to a terminal with little room") {
  const Terminal terminal;
  if (!terminal.is_there()) {
    return 8;
  }
  static_cast<void>(terminal.write_letters(SIZE_MAX));
  terminal.make_room();
  const std::size_t room = terminal.write_letters(SIZE_MAX);
  constexpr std::size_t few = 20;
  terminal.make_room();
  if (room <= few || terminal.write_letters(room - few) != room - few ||
      !terminal.polls_writable()) {
    return 8;
  }
  return signal_of_overflow_to(terminal) == SIGSEGV ? 7 : 1;
}

TEST_CASE(
    "if standard error is a terminal that has room for a few letters and says that it takes more, "
    "the process still dies") {
  check_death_with("report to a terminal with little room");
}

namespace {
std::atomic<bool> out_of_memory{false};
}

// Every allocation of this program comes here, also those of the symbolizer.
[[gnu::noinline]] void* operator new(std::size_t size) {
  void* const memory = out_of_memory ? nullptr : std::malloc(size);
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
  return memory;
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return out_of_memory ? nullptr : std::malloc(size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

GROWSTACK_SCENARIO("report without memory") {
  no_core();
  call(doomed, [] {
    out_of_memory = true;
    recurse(std::size_t{1} << 30);
  });
  return 1;
}

TEST_CASE("a symbolizer that finds no memory gives up at once, and the report has raw addresses") {
  const Ended ended = run_scenario("report without memory", std::chrono::seconds(8));
  CHECK_FALSE(ended.timed_out);
  CHECK(ended.signal == SIGSEGV);
  CHECK(contains(ended.err, "stack overflow: thread"));
  CHECK(contains(ended.err, "  #0  0x"));
  CHECK(ended.err.size() < 10'000);
}
