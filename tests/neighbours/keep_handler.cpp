// The component keep_handler: whatever a program does to handlers, masks and alternate stacks, our
// handler stays first, unblocked, and on a large enough stack. keep_handler_model.cpp compares what
// programs see.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/handler.hpp>
#include <growstack/handler/keep_handler.hpp>
#include <growstack/stack_allocator.hpp>

#include "anywhere/kernel_action.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <boost/context/fiber.hpp>

#include <dlfcn.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <barrier>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <numeric>
#include <set>
#include <string>
#include <thread>
#include <vector>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"  // siginterrupt()

using namespace growstack;
using namespace growstack::testing;

namespace {

/// A policy with which each step of `step` bytes down is a fault.
constexpr GrowthPolicy small_steps{.factor = 1, .huge_from = 0};
constexpr std::size_t step = 256 * KiB;

StackOptions small_stack(Strategy strategy) {
  return {.reserve = 8 * MiB, .policy = small_steps, .strategy = strategy};
}

/// Goes deeper than ever before, from a depth that is always the same. Returns whether the memory
/// was good.
class Deeper {
 public:
  bool operator()() { return descend(++times_ * step) == 0; }

 private:
  std::size_t times_ = 0;
};

sigset_t every_signal() {
  sigset_t all;
  sigfillset(&all);
  return all;
}

bool is_blocked(int signal) {
  sigset_t mask{};
  pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  return sigismember(&mask, signal) == 1;
}

void change_one(int how, int signal) {
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, signal);
  pthread_sigmask(how, &only, nullptr);
}
void block(int signal) { change_one(SIG_BLOCK, signal); }
void unblock(int signal) { change_one(SIG_UNBLOCK, signal); }

void take_alternate_stack_away() {
  const stack_t none{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
  sigaltstack(&none, nullptr);
}

/// Does all that would make the next growth kill.
void take_everything_away() {
  const sigset_t all = every_signal();
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
  take_alternate_stack_away();
  signal(SIGSEGV, SIG_DFL);
  signal(SIGBUS, SIG_IGN);
}

char* forbidden = nullptr;

void make_forbidden_page() {
  no_core();
  forbidden =
      static_cast<char*>(mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

void crash() { *static_cast<volatile char*>(forbidden) = 1; }

volatile int handled = 0;

void repair(int /*signal*/, siginfo_t* /*info*/, void* /*context*/) {
  handled = handled + 1;
  mprotect(forbidden, 4096, PROT_READ | PROT_WRITE);
}

void handle_with(void (*handler)(int, siginfo_t*, void*), int flags = 0) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | flags;
  sigaction(SIGSEGV, &action, nullptr);
}

std::uint64_t kernel_mask() {
  std::uint64_t mask = 0;
  syscall(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &mask, sizeof mask);
  return mask;
}

constexpr std::uint64_t bit(int signal) { return std::uint64_t{1} << (signal - 1); }

}  // namespace

// ---- that it is there ---------------------------------------------------------------------------

TEST_CASE("each name in the component's list of exports takes the place of libc's function") {
  std::ifstream list(GROWSTACK_SOURCE_DIR "/lib/adapters/keep_handler/exports.map");
  std::string word;
  int found = 0;
  Dl_info here{};
  dladdr(&forbidden, &here);
  while (list >> word) {
    if (!word.ends_with(';') || word.find_first_of("*}") != std::string::npos) {
      continue;
    }
    word.pop_back();
    CAPTURE(word);
    Dl_info info{};
    REQUIRE(dladdr(dlsym(RTLD_DEFAULT, word.c_str()), &info) != 0);
    CHECK(info.dli_fbase == here.dli_fbase);
    REQUIRE(dlsym(RTLD_NEXT, word.c_str()) != nullptr);
    ++found;
  }
  CHECK(found == 29);
}

TEST_CASE("a signal is kept from the first stack that needs it, and not before") {
  const int end = end_of_child([] {
    if (handler::is_kept(SIGSEGV) || handler::is_kept(SIGBUS)) {
      return 1;
    }
    const Stack stack(small_stack(Strategy::in_handler));
    if (!handler::is_kept(SIGSEGV) || handler::is_kept(SIGBUS) || handler::is_kept(SIGUSR1)) {
      return 2;
    }
    if (supported(Strategy::userfault_signal).works) {
      const Stack other(small_stack(Strategy::userfault_signal));
      return handler::is_kept(SIGSEGV) && handler::is_kept(SIGBUS) ? 7 : 3;
    }
    return 7;
  });
  CHECK(end == 7);
}

TEST_CASE("uninstall gives the kernel the program's handler and masks, as the program set them") {
  const int end = end_of_child([] {
    {
      const Stack stack(small_stack(Strategy::in_handler));
      const sigset_t all = every_signal();
      struct sigaction action {};
      action.sa_sigaction = repair;
      action.sa_flags = SA_SIGINFO | SA_RESTART;
      action.sa_mask = all;
      sigaction(SIGSEGV, &action, nullptr);
      sigaction(SIGUSR1, &action, nullptr);
      pthread_sigmask(SIG_BLOCK, &all, nullptr);
    }
    handler::KernelAction other{};
    static_cast<void>(handler::get_kernel_action(SIGUSR1, other));
    if ((other.mask & bit(SIGSEGV)) != 0 || (kernel_mask() & bit(SIGSEGV)) != 0) {
      return 1;
    }
    if (handler::uninstall() != 0 || handler::is_kept(SIGSEGV)) {
      return 2;
    }
    handler::KernelAction action{};
    static_cast<void>(handler::get_kernel_action(SIGSEGV, action));
    static_cast<void>(handler::get_kernel_action(SIGUSR1, other));
    const bool is_back = reinterpret_cast<void*>(action.handler) == reinterpret_cast<void*>(repair);
    return is_back && (action.mask & bit(SIGBUS)) != 0 && (other.mask & bit(SIGSEGV)) != 0 &&
                   (kernel_mask() & bit(SIGSEGV)) != 0
               ? 7
               : 3;
  });
  CHECK(end == 7);
}

// ---- growth -------------------------------------------------------------------------------------
//
// In processes of their own, because to ask whether a strategy works installs our handler.

namespace {

int grows_after_everything(const Traits& of) {
  take_everything_away();
  Stack stack(small_stack(of.strategy));
  return call(stack, [] {
    Deeper deeper;
    const bool before = deeper() && is_blocked(SIGSEGV) && is_blocked(SIGBUS);
    take_everything_away();
    return before && deeper() && is_blocked(SIGSEGV) ? 7 : 1;
  });
}
const ScenarioOfEach<grows_after_everything> scenarios_of_grows_after_everything(
    "grows_after_everything");

}  // namespace

STRATEGIES_WHERE(traits.grows_by != 0,
                 "a stack grows after the program has blocked every signal, disabled its alternate "
                 "stack and set other actions, also what it did before the first stack") {
  CHECK(run_scenario_of("grows_after_everything", Of::traits).exit_code == 7);
}

namespace {

int warm_fiber_grows(const Traits& of) {
  const pooled_stack_allocator stacks({.reserve = 8 * MiB, .strategy = of.strategy});
  for (std::size_t round = 1; round <= 3; ++round) {
    bool is_good = false;
    boost::context::fiber fiber(std::allocator_arg, stacks, [&](boost::context::fiber&& back) {
      is_good = descend(round * 500 * KiB) == 0;
      return std::move(back);
    });
    fiber = std::move(fiber).resume();
    if (!is_good) {
      return 1;
    }
    take_everything_away();
  }
  return 7;
}
const ScenarioOfEach<warm_fiber_grows> scenarios_of_warm_fiber_grows("warm_fiber_grows");

}  // namespace

STRATEGIES_WHERE(traits.grows_by != 0 && traits.pools,
                 "a warm fiber of a pool grows in a thread that was attached once and has taken "
                 "everything away since") {
  CHECK(run_scenario_of("warm_fiber_grows", Of::traits).exit_code == 7);
}

namespace {

int full_mask(const Traits& of) {
  static Deeper deeper;
  static bool is_good = true;
  struct sigaction action {};
  action.sa_handler = [](int) { is_good = is_good && deeper(); };
  action.sa_mask = every_signal();
  sigaction(SIGUSR1, &action, nullptr);  // before the first stack
  Stack stack(small_stack(of.strategy));
  return call(stack, [&] {
    raise(SIGUSR1);
    sigaction(SIGUSR2, &action, nullptr);  // and after it
    raise(SIGUSR2);
    struct sigaction seen[2]{};
    sigaction(SIGUSR1, nullptr, &seen[0]);
    sigaction(SIGUSR2, nullptr, &seen[1]);
    for (const auto& each : seen) {
      is_good = is_good && sigismember(&each.sa_mask, SIGSEGV) == 1;
    }
    return is_good ? 7 : 1;
  });
}
const ScenarioOfEach<full_mask> scenarios_of_full_mask("full_mask");

}  // namespace

STRATEGIES_WHERE(traits.grows_by != 0,
                 "a handler whose mask has every signal may go deep on a growable stack") {
  CHECK(run_scenario_of("full_mask", Of::traits).exit_code == 7);
}

namespace {

using Wait = void (*)(const sigset_t* mask);
constexpr timespec one_second{.tv_sec = 1, .tv_nsec = 0};
const std::vector<Wait> waits{
    [](const sigset_t* mask) { sigsuspend(mask); },
    [](const sigset_t* mask) { ppoll(nullptr, 0, &one_second, mask); },
    [](const sigset_t* mask) { pselect(0, nullptr, nullptr, nullptr, &one_second, mask); },
    [](const sigset_t* mask) {
      epoll_event event{};
      epoll_pwait(epoll_create1(0), &event, 1, 1000, mask);
    },
    [](const sigset_t* mask) {
      epoll_event event{};
      epoll_pwait2(epoll_create1(0), &event, 1, &one_second, mask);
    },
};

int waits_with_mask(const Traits& of) {
  static Deeper deeper;
  static std::size_t good = 0;
  signal(SIGUSR1, [](int) { good += deeper() ? 1 : 0; });
  Stack stack(small_stack(of.strategy));
  return call(stack, [] {
    const sigset_t all = every_signal();
    sigset_t others = all;
    sigdelset(&others, SIGUSR1);
    for (const Wait wait : waits) {
      pthread_sigmask(SIG_SETMASK, &all, nullptr);
      raise(SIGUSR1);
      wait(&others);
    }
    return good == waits.size() ? 7 : 1;
  });
}
const ScenarioOfEach<waits_with_mask> scenarios_of_waits_with_mask("waits_with_mask");

}  // namespace

STRATEGIES_WHERE(traits.grows_by != 0,
                 "a handler may go deep while its thread waits in sigsuspend, ppoll, pselect and "
                 "epoll_pwait with a mask of all other signals") {
  CHECK(run_scenario_of("waits_with_mask", Of::traits).exit_code == 7);
}

namespace {

int late_destructors(const Traits& of) {
  static bool is_good = false;
  pthread_key_t key{};
  pthread_key_create(&key, [](void*) { is_good = descend(700 * KiB) == 0; });
  struct TakesAway {
    ~TakesAway() { take_everything_away(); }
  };
  Thread thread(small_stack(of.strategy), [&] {
    static thread_local TakesAway takes_away;
    static_cast<void>(&takes_away);
    pthread_setspecific(key, &key);
  });
  thread.join();
  return is_good ? 7 : 1;
}
const ScenarioOfEach<late_destructors> scenarios_of_late_destructors("late_destructors");

}  // namespace

STRATEGIES_WHERE(traits.grows_by != 0,
                 "destructors at the end of a Thread go deep after others have taken everything "
                 "away") {
  CHECK(run_scenario_of("late_destructors", Of::traits).exit_code == 7);
}

namespace {

int large_alternate_stack(const Traits& of) {
  static char memory[64 * KiB];
  const stack_t large{.ss_sp = memory, .ss_flags = 0, .ss_size = sizeof memory};
  sigaltstack(&large, nullptr);
  Stack stack(small_stack(of.strategy));
  return call(stack, [&] {
    Deeper deeper;
    stack_t in_force{};
    bool is_good = deeper();
    syscall(SYS_sigaltstack, nullptr, &in_force);
    is_good = is_good && in_force.ss_sp == memory;
    take_alternate_stack_away();
    is_good = is_good && deeper();
    syscall(SYS_sigaltstack, nullptr, &in_force);
    is_good = is_good && in_force.ss_sp != memory && (in_force.ss_flags & SS_DISABLE) == 0;
    const stack_t small{.ss_sp = memory, .ss_flags = 0, .ss_size = 8 * KiB};
    sigaltstack(&small, nullptr);
    syscall(SYS_sigaltstack, nullptr, &in_force);
    is_good = is_good && in_force.ss_sp != memory && deeper();
    sigaltstack(&large, nullptr);
    syscall(SYS_sigaltstack, nullptr, &in_force);
    return is_good && in_force.ss_sp == memory && deeper() ? 7 : 1;
  });
}
const ScenarioOfEach<large_alternate_stack> scenarios_of_large_alternate_stack(
    "large_alternate_stack");

}  // namespace

STRATEGIES_WHERE(traits.grows_by != 0,
                 "a large alternate stack of the program is in force until it is given up or made "
                 "small, and then the thread has ours") {
  CHECK(run_scenario_of("large_alternate_stack", Of::traits).exit_code == 7);
}

// ---- crashes, and signals that are sent ---------------------------------------------------------

TEST_CASE("a crash kills while the program blocks SIGSEGV, although it has a handler") {
  const int end = end_of_child([] {
    make_forbidden_page();
    const Stack stack(small_stack(Strategy::in_handler));
    handle_with(repair);
    block(SIGSEGV);
    crash();
    return 1;
  });
  CHECK(end == killed_by(SIGSEGV));
}

TEST_CASE("a crash in a crash handler kills, unless the handler has SA_NODEFER") {
  static volatile int depth = 0;
  static constexpr auto crashing = [](int /*signal*/, siginfo_t* info, void* context) {
    depth = depth + 1;
    if (depth < 3) {
      crash();
    }
    repair(SIGSEGV, info, context);
  };
  for (const int flags : {0, SA_ONSTACK, SA_NODEFER}) {
    CAPTURE(flags);
    const int end = end_of_child([&] {
      make_forbidden_page();
      const Stack stack(small_stack(Strategy::in_handler));
      handle_with(crashing, flags);
      crash();
      return depth == 3 ? 7 : 1;
    });
    CHECK(end == (flags == SA_NODEFER ? 7 : killed_by(SIGSEGV)));
  }
}

TEST_CASE("a handler that leaves by siglongjmp is called again at the next crash") {
  const int end = end_of_child([] {
    make_forbidden_page();
    Stack stack(small_stack(Strategy::in_handler));
    static sigjmp_buf way_out;
    handle_with([](int, siginfo_t*, void*) { siglongjmp(way_out, 1); });
    return call(stack, [] {
      static volatile int left = 0;
      Deeper deeper;
      while (left < 5) {
        if (sigsetjmp(way_out, 1) == 0) {
          crash();
        }
        left = left + 1;
        if (is_blocked(SIGSEGV) || !deeper()) {
          return 1;
        }
      }
      return 7;
    });
  });
  CHECK(end == 7);
}

TEST_CASE("a SIGSEGV that is sent while it is blocked waits with its value, and not in a child") {
  const int end = end_of_child([] {
    make_forbidden_page();
    const Stack stack(small_stack(Strategy::in_handler));
    static volatile int value = 0;
    handle_with([](int, siginfo_t* info, void*) { value = info->si_value.sival_int; });
    block(SIGSEGV);
    sigqueue(getpid(), SIGSEGV, {.sival_int = 5});
    sigqueue(getpid(), SIGSEGV, {.sival_int = 6});  // dropped, as the kernel drops it
    sigset_t pending{};
    sigpending(&pending);
    if (value != 0 || sigismember(&pending, SIGSEGV) != 1) {
      return 1;
    }
    const int child = end_of_child([] {
      sigset_t none{};
      sigpending(&none);
      unblock(SIGSEGV);
      return value == 0 && sigismember(&none, SIGSEGV) == 0 ? 7 : 1;
    });
    unblock(SIGSEGV);
    return child == 7 && value == 5 ? 7 : 2;
  });
  CHECK(end == 7);
}

TEST_CASE("signal() has system calls restarted, unless siginterrupt() says that they are not") {
  const int end = end_of_child([] {
    const Stack stack(small_stack(Strategy::in_handler));
    const auto restarts = [] {
      struct sigaction seen {};
      sigaction(SIGSEGV, nullptr, &seen);
      return (seen.sa_flags & SA_RESTART) != 0;
    };
    std::signal(SIGSEGV, [](int) {});
    const bool by_default = restarts();
    siginterrupt(SIGSEGV, 1);
    const bool at_once = !restarts();
    std::signal(SIGSEGV, [](int) {});
    const bool later = !restarts();
    siginterrupt(SIGSEGV, 0);
    return by_default && at_once && later && restarts() ? 7 : 1;
  });
  CHECK(end == 7);
}

TEST_CASE("a SIGSEGV that is sent interrupts a system call, or not, as the program last said") {
  const int end = end_of_child([] {
    const Stack stack(small_stack(Strategy::in_handler));
    // Returns whether read() was interrupted. Otherwise a byte ends it.
    const auto interrupts = [](int flags) {
      struct sigaction action {};
      action.sa_handler = [](int) {};
      action.sa_flags = flags;
      sigaction(SIGSEGV, &action, nullptr);
      int ends[2];
      if (pipe(ends) != 0) {
        return false;
      }
      const pthread_t reader = pthread_self();
      std::atomic<bool> is_over{false};
      std::thread sender([&] {
        for (int times = 0; times < 20 && !is_over; ++times) {
          usleep(5000);
          pthread_kill(reader, SIGSEGV);
        }
        static_cast<void>(write(ends[1], "x", 1));
      });
      char byte = 0;
      const bool was_interrupted = read(ends[0], &byte, 1) < 0 && errno == EINTR;
      is_over = true;
      sender.join();
      close(ends[0]);
      close(ends[1]);
      return was_interrupted;
    };
    const bool plain = interrupts(0);
    const bool restarting = interrupts(SA_RESTART);
    return plain && !restarting && interrupts(0) ? 7 : 1;
  });
  CHECK(end == 7);
}

TEST_CASE("one SIGSEGV can wait for the thread, and another one for the process") {
  const int end = end_of_child([] {
    make_forbidden_page();
    const Stack stack(small_stack(Strategy::in_handler));
    handle_with(repair);
    block(SIGSEGV);
    for (int round = 0; round < 2; ++round) {
      raise(SIGSEGV);
      kill(getpid(), SIGSEGV);
    }
    unblock(SIGSEGV);
    return handled == 2 ? 7 : 1;
  });
  CHECK(end == 7);
}

TEST_CASE("a SIGSEGV that waits is forgotten when the program ignores the signal") {
  const int end = end_of_child([] {
    const Stack stack(small_stack(Strategy::in_handler));
    handle_with(repair);
    block(SIGSEGV);
    raise(SIGSEGV);
    signal(SIGSEGV, SIG_IGN);
    handle_with(repair);
    unblock(SIGSEGV);
    return handled == 0 ? 7 : 1;
  });
  CHECK(end == 7);
}

// ---- several users ------------------------------------------------------------------------------

TEST_CASE("handlers of two libraries, each of which calls the one before it, are called in turn") {
  static std::string order;
  static struct sigaction before_first, before_second;
  const int end = end_of_child([] {
    make_forbidden_page();
    handle_with([](int signal, siginfo_t* info, void* context) {
      order += "program ";
      repair(signal, info, context);
    });
    Stack stack(small_stack(Strategy::in_handler));
    struct sigaction action {};
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = [](int signal, siginfo_t* info, void* context) {
      order += "first ";
      before_first.sa_sigaction(signal, info, context);
    };
    sigaction(SIGSEGV, &action, &before_first);
    action.sa_sigaction = [](int signal, siginfo_t* info, void* context) {
      order += "second ";
      before_second.sa_sigaction(signal, info, context);
    };
    sigaction(SIGSEGV, &action, &before_second);
    return call(stack, [] {
      Deeper deeper;
      const bool is_good = deeper();
      crash();
      return is_good && deeper() && order == "second first program " ? 7 : 1;
    });
  });
  CHECK(end == 7);
}

TEST_CASE("a SIGSEGV that waits when the handler is uninstalled waits on, now in the kernel") {
  const int end = end_of_child([] {
    { const Stack stack(small_stack(Strategy::in_handler)); }
    struct sigaction action {};
    action.sa_handler = [](int) { _exit(7); };
    sigaction(SIGSEGV, &action, nullptr);
    block(SIGSEGV);
    raise(SIGSEGV);
    if (handler::uninstall() != 0) {
      return 1;
    }
    sigset_t waiting{};
    sigpending(&waiting);
    if (sigismember(&waiting, SIGSEGV) != 1) {
      return 2;
    }
    unblock(SIGSEGV);
    return 3;
  });
  CHECK(end == 7);
}

TEST_CASE("a signal that becomes kept later still has the program's whole mask") {
  const int end = end_of_child([] {
    if (!supported(Strategy::userfault_signal).works) {
      return 77;
    }
    if (handler::uninstall() != 0) {
      return 2;
    }
    struct sigaction action {};
    action.sa_handler = [](int) {};
    sigaddset(&action.sa_mask, SIGSEGV);
    sigaction(SIGBUS, &action, nullptr);
    const Stack stack(small_stack(Strategy::in_handler));        // keeps SIGSEGV
    const Stack other(small_stack(Strategy::userfault_signal));  // and SIGBUS
    struct sigaction seen {};
    sigaction(SIGBUS, nullptr, &seen);
    return handler::is_kept(SIGBUS) && sigismember(&seen.sa_mask, SIGSEGV) == 1 ? 7 : 1;
  });
  if (end == 77) {
    return skip("userfault_signal does not work here");
  }
  CHECK(end == 7);
}

TEST_CASE("actions that threads set at the same time are each returned as the old one just once") {
  const int end = end_of_child([] {
    const Stack stack(small_stack(Strategy::in_handler));
    constexpr std::uintptr_t threads = 3;
    constexpr std::uintptr_t actions = 8;  // of each thread; never called
    std::uintptr_t old[threads * actions]{};
    std::iota(std::begin(old), std::end(old), 0);  // before the first round
    bool is_good = true;
    const auto set = [](std::uintptr_t number) {
      return reinterpret_cast<std::uintptr_t>(
          signal(SIGSEGV, reinterpret_cast<sighandler_t>(1000 + number)));
    };
    std::barrier together(threads, [&]() noexcept {
      std::set<std::uintptr_t> seen(std::begin(old), std::end(old));
      seen.insert(set(threads * actions));
      is_good = is_good && seen.size() >= threads * actions + 1;
    });
    set(threads * actions);
    std::vector<std::jthread> setters;
    for (std::uintptr_t thread = 0; thread < threads; ++thread) {
      setters.emplace_back([&, thread] {
        for (int round = 0; round < 5000; ++round) {
          together.arrive_and_wait();
          for (std::uintptr_t i = thread * actions; i < (thread + 1) * actions; ++i) {
            old[i] = set(i);
          }
        }
      });
    }
    setters.clear();
    return is_good ? 7 : 1;
  });
  CHECK(end == 7);
}

TEST_CASE("crashes are handled while a signal handler and other threads set the action") {
  const int end = end_of_child([] {
    const Stack stack(small_stack(Strategy::in_handler));
    static thread_local char* own_page = nullptr;
    static constexpr auto open_page = [](int, siginfo_t*, void*) {
      mprotect(own_page, 4096, PROT_READ | PROT_WRITE);
    };
    static constexpr auto open_page_too = [](int, siginfo_t*, void*) {
      mprotect(own_page, 4096, PROT_READ | PROT_WRITE);
    };
    handle_with(open_page);
    signal(SIGUSR1, [](int) { handle_with(open_page_too); });
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 3; ++thread) {
      threads.emplace_back([] {
        attach_thread();
        own_page =
            static_cast<char*>(mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        for (int round = 0; round < 2000; ++round) {
          raise(SIGUSR1);
          mprotect(own_page, 4096, PROT_NONE);
          *static_cast<volatile char*>(own_page) = 1;
          handle_with(open_page, round % 2 == 0 ? SA_RESTART : SA_ONSTACK);
        }
      });
    }
    threads.clear();
    return 7;
  });
  CHECK(end == 7);
}

TEST_CASE("a forked child sees what its parent has set, and grows") {
  const int end = end_of_child([] {
    Stack stack(small_stack(Strategy::in_handler));
    return call(stack, [] {
      handle_with(repair);
      block(SIGSEGV);
      return end_of_child([] {
        Deeper deeper;
        struct sigaction seen {};
        sigaction(SIGSEGV, nullptr, &seen);
        return deeper() && is_blocked(SIGSEGV) && seen.sa_sigaction == repair ? 7 : 1;
      });
    });
  });
  CHECK(end == 7);
}

TEST_CASE("what a vfork child sets stays in the child") {
  const int end = end_of_child([] {
    Stack stack(small_stack(Strategy::in_handler));
    return call(stack, [] {
      handle_with(repair);
      const pid_t child = vfork();
      if (child == 0) {
        signal(SIGSEGV, SIG_IGN);
        block(SIGSEGV);
        _exit(0);
      }
      waitpid(child, nullptr, 0);
      Deeper deeper;
      struct sigaction seen {};
      sigaction(SIGSEGV, nullptr, &seen);
      return deeper() && !is_blocked(SIGSEGV) && seen.sa_sigaction == repair ? 7 : 1;
    });
  });
  CHECK(end == 7);
}
