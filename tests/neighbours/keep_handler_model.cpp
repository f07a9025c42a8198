// What a program that links keep_handler sees of its signals: the same as without growstack.
//
// Two children make the same random steps: set actions, masks and alternate stacks by every
// function of libc that does it, raise signals, and crash. One child knows nothing of growstack, so
// the component hands everything to the kernel. The other one makes the steps on a growable stack
// that grows at each step, also where the model has its signal blocked, ignored or handled. What
// they saw must be equal.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/handler.hpp>
#include <growstack/handler/keep_handler.hpp>

#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"  // of 4.2BSD and System V

extern "C" sighandler_t sysv_signal(int, sighandler_t) noexcept;

using namespace growstack;
using namespace growstack::testing;

namespace {

/// What a child saw. Shared with its parent, because the child may die.
struct Transcript {
  std::size_t used;
  char text[512 * 1024];
};
Transcript* transcript = nullptr;

void see(const char* what) {
  for (; *what != '\0' && transcript->used < sizeof transcript->text; ++what) {
    transcript->text[transcript->used++] = *what;
  }
}

void see(const char* what, std::uintptr_t value) {
  char digits[24];
  std::size_t count = 0;
  do {
    digits[count++] = "0123456789abcdef"[value % 16];
  } while ((value /= 16) != 0);
  see(what);
  while (count > 0) {
    const char text[2]{digits[--count], '\0'};
    see(text);
  }
}

std::uint64_t word(const sigset_t& set) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, &set, sizeof bits);
  return bits;
}

constexpr std::uint64_t bit(int signal) { return std::uint64_t{1} << (signal - 1); }

void see(const sigset_t& set) { see(" mask ", word(set)); }

void see(const struct sigaction& action) {
  see(" handler ", reinterpret_cast<std::uintptr_t>(action.sa_handler));
  see(" flags ", static_cast<unsigned>(action.sa_flags));
  see(" restorer ", reinterpret_cast<std::uintptr_t>(action.sa_restorer));
  see(action.sa_mask);
}

void see(const stack_t& stack) {
  see(" stack ", reinterpret_cast<std::uintptr_t>(stack.ss_sp));
  see(" flags ", static_cast<unsigned>(stack.ss_flags));
  see(" size ", stack.ss_size);
}

constexpr int signals[]{SIGSEGV, SIGBUS, SIGUSR1};

int grows_by = 0;      ///< the signal of the strategy that is tried
char* page = nullptr;  ///< a touch of it is a crash, until somebody opens it
sigjmp_buf way_out;
bool jumps = false;

/// What a handler does not look at in masks: what the handler of a signal that is not kept inherits
/// of kept signals is not tracked.
std::uint64_t unseen_by(int signal) {
  constexpr std::uint64_t may_be_kept = bit(SIGSEGV) | bit(SIGBUS);
  return signal == SIGSEGV || (signal == SIGBUS && grows_by == SIGBUS) ? 0 : may_be_kept;
}

/// A crash is repaired by the handler, or left by a jump.
void handle(int signal, const siginfo_t* info, const ucontext_t* context) {
  const bool is_crash = info != nullptr && info->si_code > 0;
  see(" [handled ", static_cast<std::uintptr_t>(signal));
  if (info != nullptr) {
    see(" code ", static_cast<unsigned>(info->si_code));
  }
  sigset_t mask{};
  pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  see(" mask ", word(mask) & ~unseen_by(signal));
  if (context != nullptr) {
    see(" returns to ", word(context->uc_sigmask) & ~unseen_by(signal));
  }
  see("]");
  if (is_crash && jumps) {
    siglongjmp(way_out, 1);
  }
  mprotect(page, 4096, PROT_READ | PROT_WRITE);
}
void with_info(int signal, siginfo_t* info, void* context) {
  handle(signal, info, static_cast<const ucontext_t*>(context));
}
void without_info(int signal) { handle(signal, nullptr, nullptr); }

/// The random steps of one child.
class Steps {
 public:
  explicit Steps(unsigned seed) : random_(seed) {}

  void step() {
    const int signal = signals[any(3)];
    see("\n", static_cast<std::uintptr_t>(signal));
    switch (any(12)) {
      case 0:
      case 1:
        return set_action(signal);
      case 2:
        return ask_for_action(signal);
      case 3:
        return set_handler(signal);
      case 4:
      case 5:
        return set_mask();
      case 6:
        return set_mask_by_relatives(signal);
      case 7:
      case 8:
        return set_alternate_stack();
      case 9:
        return raise_it(signal);
      case 10:
        return crash();
      default:
        return ask_for_pending();
    }
  }

 private:
  unsigned any(unsigned below) { return static_cast<unsigned>(random_() % below); }
  bool maybe() { return any(2) == 0; }

  sigset_t any_set() {
    sigset_t set{};
    // Without 32 and 33, which libc keeps for itself: it lets nobody block them, except by an
    // action.
    const std::uint64_t bits = random_() & random_() & ~(std::uint64_t{3} << 31U);
    std::memcpy(&set, &bits, sizeof bits);
    if (any(8) == 0) {
      sigfillset(&set);
    }
    // Without these the child could not be stopped.
    for (const int kept : {SIGALRM, SIGINT, SIGTERM}) {
      sigdelset(&set, kept);
    }
    return set;
  }

  sighandler_t any_handler() {
    const sighandler_t handlers[]{SIG_DFL, SIG_IGN, without_info, without_info, without_info};
    return handlers[any(5)];
  }

  void set_action(int signal) {
    struct sigaction action {};
    if (maybe()) {
      action.sa_sigaction = with_info;
      action.sa_flags = SA_SIGINFO;
    } else {
      action.sa_handler = any_handler();
      const bool is_handler = action.sa_handler == without_info;
      action.sa_flags = !is_handler && any(3) == 0 ? SA_SIGINFO : 0;
    }
    for (const int flag : {SA_RESTART, SA_NODEFER, static_cast<int>(SA_RESETHAND), SA_ONSTACK,
                           0x0000'0100, SA_NOCLDSTOP}) {
      action.sa_flags |= any(4) == 0 ? flag : 0;
    }
    action.sa_mask = any_set();
    struct sigaction old {};
    const int which = any(12) == 0 ? (maybe() ? 0 : 99) : signal;
    see(" sigaction ", static_cast<unsigned>(sigaction(which, &action, maybe() ? &old : nullptr)));
    see(old);
  }

  static void ask_for_action(int signal) {
    struct sigaction old {};
    see(" ask ", static_cast<unsigned>(sigaction(signal, nullptr, &old)));
    see(old);
  }

  void set_handler(int signal) {
    const sighandler_t handler = any(10) == 0 ? SIG_ERR : any_handler();
    switch (any(6)) {
      case 0:
        return see(" signal ", reinterpret_cast<std::uintptr_t>(::signal(signal, handler)));
      case 1:
        return see(" sysv_signal ", reinterpret_cast<std::uintptr_t>(sysv_signal(signal, handler)));
      case 2:
        return see(" ssignal ", reinterpret_cast<std::uintptr_t>(ssignal(signal, handler)));
      case 3:
        return see(" sigset ",
                   reinterpret_cast<std::uintptr_t>(sigset(signal, maybe() ? SIG_HOLD : handler)));
      case 4:
        return see(" sigignore ", static_cast<unsigned>(sigignore(signal)));
      default:
        return see(" siginterrupt ", static_cast<unsigned>(siginterrupt(signal, maybe())));
    }
  }

  void set_mask() {
    const int how = any(10) == 0 ? 99 : static_cast<int>(any(3));
    const sigset_t set = any_set();
    sigset_t old{};
    const sigset_t* const given = any(4) == 0 ? nullptr : &set;
    if (maybe()) {
      see(" sigprocmask ", static_cast<unsigned>(sigprocmask(how, given, &old)));
    } else {
      see(" pthread_sigmask ", static_cast<unsigned>(pthread_sigmask(how, given, &old)));
    }
    see(old);
  }

  void set_mask_by_relatives(int signal) {
    const std::uint64_t bits = word(any_set());
    switch (any(5)) {
      case 0:
        return see(" sighold ", static_cast<unsigned>(sighold(signal)));
      case 1:
        return see(" sigrelse ", static_cast<unsigned>(sigrelse(signal)));
      case 2:
        return see(" sigblock ", static_cast<unsigned>(sigblock(static_cast<int>(bits))));
      case 3:
        return see(" sigsetmask ", static_cast<unsigned>(sigsetmask(static_cast<int>(bits))));
      default:
        return see(" siggetmask ", static_cast<unsigned>(siggetmask()));
    }
  }

  void set_alternate_stack() {
    static char memory[64 * KiB];
    stack_t stack{};
    stack.ss_sp = memory;
    const std::size_t sizes[]{100, 12 * KiB, sizeof memory};
    stack.ss_size = sizes[any(3)];
    const int flags[]{0, 0, SS_ONSTACK, SS_DISABLE, 77};
    stack.ss_flags = flags[any(5)];
    stack_t old{};
    see(" sigaltstack ", static_cast<unsigned>(sigaltstack(any(4) == 0 ? nullptr : &stack, &old)));
    see(old);
  }

  /// Seldom where it kills, or the sequences would be short.
  bool is_survived(int signal) {
    struct sigaction action {};
    sigaction(signal, nullptr, &action);
    return action.sa_handler != SIG_DFL || any(30) == 0;
  }

  /// Not while one waits, because the order in which several then arrive is not kept.
  void raise_it(int signal) {
    sigset_t pending{};
    sigpending(&pending);
    if (!is_survived(signal) || word(pending) != 0) {
      return;
    }
    switch (any(3)) {
      case 0:
        return see(" raise ", static_cast<unsigned>(raise(signal)));
      case 1:
        return see(" kill ", static_cast<unsigned>(kill(getpid(), signal)));
      default:
        return see(" sigqueue ", static_cast<unsigned>(sigqueue(getpid(), signal, {})));
    }
  }

  void crash() {
    sigset_t mask{};
    sigprocmask(SIG_BLOCK, nullptr, &mask);
    struct sigaction action {};
    sigaction(SIGSEGV, nullptr, &action);
    const bool kills = sigismember(&mask, SIGSEGV) == 1 || action.sa_handler == SIG_DFL ||
                       action.sa_handler == SIG_IGN;
    jumps = maybe() && (action.sa_flags & SA_SIGINFO) != 0;
    if (kills && any(30) != 0) {
      return;
    }
    see(" crash");
    mprotect(page, 4096, PROT_NONE);
    if (sigsetjmp(way_out, 1) == 0) {
      *static_cast<volatile char*>(page) = 1;
    } else {
      see(" left");
    }
  }

  static void ask_for_pending() {
    sigset_t set{};
    see(" sigpending ", static_cast<unsigned>(sigpending(&set)));
    see(set);
  }

  std::mt19937_64 random_;
};

constexpr int step_count = 120;

void prepare() {
  page = static_cast<char*>(mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  no_core();
}

int without_growstack(unsigned seed) {
  if (handler::installed()) {
    return 3;
  }
  prepare();
  Steps steps(seed);
  for (int i = 0; i < step_count; ++i) {
    steps.step();
  }
  return 7;
}

int on_a_growable_stack(unsigned seed, const Traits& of) {
  prepare();
  Stack stack({.reserve = 16 * MiB,
               .policy = {.factor = 1, .least_step = 16 * KiB, .huge_from = 0},
               .strategy = of.strategy});
  return call(stack, [&] {
    Steps steps(seed);
    for (std::size_t i = 0; i < step_count; ++i) {
      steps.step();
      if (descend((i + 1) * 16 * KiB) != 0) {
        return 1;
      }
    }
    return handler::is_kept(of.grows_by) && stack.counters().growth_faults > 30 ? 7 : 2;
  });
}

std::string seen() { return {transcript->text, transcript->used}; }

/// Returns the text from a little before the first difference.
std::string difference(const std::string& text, const std::string& other) {
  const auto [at, unused] = std::mismatch(text.begin(), text.end(), other.begin(), other.end());
  const auto begin = static_cast<std::size_t>(std::max<std::ptrdiff_t>(at - text.begin() - 600, 0));
  return text.substr(begin, 700);
}

constexpr unsigned seed_count = 40;

/// Compares what both children saw. Runs in a process in which nobody has made a stack, or asked
/// whether a strategy works, which installs our handler.
int compare(const Traits& of) {
  transcript = static_cast<Transcript*>(
      mmap(nullptr, sizeof *transcript, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  grows_by = of.grows_by;
  unsigned survived = 0;
  for (unsigned seed = 1; seed <= seed_count; ++seed) {
    transcript->used = 0;
    const int end_without = end_of_child([&] { return without_growstack(seed); });
    const std::string without = seen();
    transcript->used = 0;
    const int end_with = end_of_child([&] { return on_a_growable_stack(seed, of); });
    const std::string with = seen();
    if (with != without || end_with != end_without) {
      std::printf("seed %u: ended %d, without growstack %d\n...%s\nwithout growstack: ...%s\n",
                  seed, end_with, end_without, difference(with, without).c_str(),
                  difference(without, with).c_str());
      return 1;
    }
    survived += end_without == 7 ? 1 : 0;
  }
  return survived > 5 && survived < seed_count ? 7 : 2;
}
const ScenarioOfEach<compare> comparisons("compare");

}  // namespace

STRATEGIES_WHERE(traits.grows_by != 0,
                 "whatever a program does with its signals, it sees the same with growstack and "
                 "keep_handler as without, and its stack grows at each step") {
  const Ended ended = run_scenario_of("compare", Of::traits);
  CHECK(ended.out == "");
  CHECK(ended.exit_code == 7);
}
