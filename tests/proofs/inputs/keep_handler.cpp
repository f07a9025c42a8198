// What a program sees of its signals while keep_handler keeps some of them: the same as without it.
//
// The model is a kernel, as far as actions, masks and alternate stacks go. There are two of it. The
// program makes the same calls twice: to keep_handler, which has one kernel below it, and to the
// other kernel at once. Now and then signals become kept, or are given back, of which the program
// must notice nothing. keep_handler's functions have names of their own here, because the program
// that runs this needs those of libc.
#include "input.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstring>
#include <optional>
#include <string_view>

// All that the two files include is included before they are, so that only their own names change.
#include <growstack/export.hpp>

#include "adapters/keep_handler/actions.hpp"
#include "adapters/keep_handler/kept.hpp"
#include "adapters/keep_handler/libc.hpp"
#include "adapters/keep_handler/replacements.hpp"
#include "adapters/keep_handler/thread_view.hpp"

#define __asm__(name) asm("inputs_" name)
#define alias(name) alias("inputs_" name)
#include "adapters/keep_handler/action_calls.cpp"
#include "adapters/keep_handler/mask_calls.cpp"
#undef alias
#undef __asm__

namespace growstack::inputs {
namespace {

using keep::bit;
using keep::set_word;
using keep::word;

constexpr int from_libc = 0x04000000;  // SA_RESTORER, which libc adds to the flags
constexpr int auto_disarm = static_cast<int>(1U << 31U);
constexpr std::uint64_t unblockable = bit(SIGKILL) | bit(SIGSTOP);

void restorer() {}
void ours(int /*signal*/, siginfo_t* /*info*/, void* /*context*/) {}
void first_handler(int /*signal*/) {}
void second_handler(int /*signal*/) {}

struct Kernel {
  std::array<struct sigaction, 65> actions{};
  std::uint64_t mask = 0;
  std::uint64_t pending = 0;
  stack_t alternate{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
  std::array<unsigned, 65> delivered{};  ///< how often the program saw a signal that was sent
  bool has_keeper = false;

  /// All actions were set by libc once: to give one back, keep_handler calls libc.
  Kernel() {
    for (struct sigaction& each : actions) {
      each.sa_flags = from_libc;
      each.sa_restorer = &restorer;
    }
  }

  /// A signal that is not blocked arrives.
  void arrive(int signal) {
    if (has_keeper && (keep::kept & bit(signal)) != 0 && keep::is_blocked(signal, 0)) {
      siginfo_t info{};
      info.si_signo = signal;
      info.si_code = SI_TKILL;
      keep::hold(&info);
      return;
    }
    ++delivered[static_cast<std::size_t>(signal)];
  }
  void send(int signal) {
    if ((mask & bit(signal)) != 0) {
      pending |= bit(signal);
    } else {
      arrive(signal);
    }
  }
  void set_mask(std::uint64_t bits) {
    mask = bits & ~unblockable;
    for (int signal = 1; signal <= 64; ++signal) {
      if ((pending & ~mask & bit(signal)) != 0) {
        pending &= ~bit(signal);
        arrive(signal);
      }
    }
  }
};

Kernel below;    // keep_handler
Kernel without;  // it
Kernel* kernel = &without;

int refuse(int error) {
  errno = error;
  return -1;
}

int fake_sigaction(int signal, const struct sigaction* action, struct sigaction* old) {
  if (signal < 1 || signal > 64 ||
      (action != nullptr && (signal == SIGKILL || signal == SIGSTOP))) {
    return refuse(EINVAL);
  }
  struct sigaction& known = kernel->actions[static_cast<std::size_t>(signal)];
  const struct sigaction before = known;
  if (action != nullptr) {
    constexpr int flags = SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART |
                          SA_NODEFER | static_cast<int>(SA_RESETHAND);
    known.sa_handler = action->sa_handler;
    known.sa_flags = (action->sa_flags & flags) | from_libc;
    known.sa_restorer = &restorer;
    set_word(known.sa_mask, word(action->sa_mask) & ~unblockable);
    if (known.sa_handler == SIG_IGN) {
      kernel->pending &= ~bit(signal);
    }
  }
  if (old != nullptr) {
    *old = before;
  }
  return 0;
}

int error_of_mask_change(int how, const sigset_t* set, sigset_t* old) {
  const std::uint64_t before = kernel->mask;
  if (set != nullptr) {
    const std::uint64_t bits = word(*set);
    if (how != SIG_BLOCK && how != SIG_UNBLOCK && how != SIG_SETMASK) {
      return EINVAL;
    }
    kernel->set_mask(how == SIG_BLOCK ? before | bits : how == SIG_UNBLOCK ? before & ~bits : bits);
  }
  if (old != nullptr) {
    *old = {};
    set_word(*old, before);
  }
  return 0;
}

int fake_sigprocmask(int how, const sigset_t* set, sigset_t* old) {
  const int error = error_of_mask_change(how, set, old);
  return error == 0 ? 0 : refuse(error);
}

int fake_sigpending(sigset_t* set) {
  *set = {};
  set_word(*set, kernel->pending);
  return 0;
}

int fake_sigaltstack(const stack_t* stack, stack_t* old) {
  const stack_t before = kernel->alternate;
  if (stack != nullptr) {
    const int mode = stack->ss_flags & ~auto_disarm;
    if (mode != 0 && mode != SS_ONSTACK && mode != SS_DISABLE) {
      return refuse(EINVAL);
    }
    if (mode != SS_DISABLE && stack->ss_size < 2048) {
      return refuse(ENOMEM);
    }
    kernel->alternate = *stack;
    kernel->alternate.ss_flags &= auto_disarm;
    if (mode == SS_DISABLE) {
      kernel->alternate.ss_sp = nullptr;
      kernel->alternate.ss_size = 0;
      kernel->alternate.ss_flags |= SS_DISABLE;
    }
  }
  if (old != nullptr) {
    *old = before;
  }
  return 0;
}

/// The program's two worlds: a call is made in each, and what it says must be the same.
class Program {
 public:
  explicit Program(Input& input) : input_(input) {}

  void change_action() {
    const int signal = any_signal();
    struct sigaction action {};
    action.sa_handler =
        input_.one_of<void (*)(int)>({SIG_DFL, SIG_IGN, &first_handler, &second_handler});
    action.sa_flags = input_.one_of<int>(
        {0, SA_RESTART, SA_ONSTACK | SA_SIGINFO, static_cast<int>(SA_RESETHAND) | SA_NODEFER});
    set_word(action.sa_mask, any_signals());
    const bool sets = input_.flag();
    const bool asks = input_.flag();
    struct sigaction old[2]{};
    int error[2]{};
    twice([&](bool is_kept, int world) {
      const struct sigaction* const wanted = sets ? &action : nullptr;
      struct sigaction* const before = asks ? &old[world] : nullptr;
      errno = 0;
      error[world] =
          is_kept ? keep_sigaction(signal, wanted, before) : fake_sigaction(signal, wanted, before);
      error[world] = error[world] == 0 ? 0 : errno;
    });
    require_same(error, "sigaction fails alike");
    same_actions(old[0], old[1]);
  }

  void change_mask() {
    const int how = input_.one_of<int>({SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK, 77});
    sigset_t set{};
    set_word(set, any_signals());
    const bool sets = input_.from(0, 3) != 0;
    const bool is_thread_call = input_.flag();
    int error[2]{};
    sigset_t old[2]{};
    twice([&](bool is_kept, int world) {
      const sigset_t* const wanted = sets ? &set : nullptr;
      errno = 0;
      if (is_kept) {
        error[world] = is_thread_call ? keep_pthread_sigmask(how, wanted, &old[world])
                                      : keep_sigprocmask(how, wanted, &old[world]);
      } else {
        error[world] = is_thread_call ? error_of_mask_change(how, wanted, &old[world])
                                      : fake_sigprocmask(how, wanted, &old[world]);
      }
    });
    require_same(error, "a change of the mask fails alike");
    require_equal(word(old[0]), word(old[1]), "the program sees its own mask");
  }

  /// sighold(3), sigrelse(3), sigblock(3) and sigsetmask(3).
  void change_mask_as_of_old() {
    const int signal = input_.one_of<int>({SIGSEGV, SIGBUS, SIGUSR1, 65});
    const auto bits = static_cast<std::uint32_t>(any_signals());
    const std::uint64_t kind = input_.from(0, 3);
    int found[2]{};
    twice([&](bool is_kept, int world) {
      sigset_t set{};
      sigset_t before{};
      set_word(set, kind < 2 ? (signal > 64 ? 0 : bit(signal)) : bits);
      const int how = kind == 0 || kind == 2 ? SIG_BLOCK : kind == 1 ? SIG_UNBLOCK : SIG_SETMASK;
      if (is_kept) {
        found[world] = kind == 0   ? keep_sighold(signal)
                       : kind == 1 ? keep_sigrelse(signal)
                       : kind == 2 ? keep_sigblock(static_cast<int>(bits))
                                   : keep_sigsetmask(static_cast<int>(bits));
      } else if (kind < 2 && signal > 64) {
        found[world] = -1;
      } else {
        fake_sigprocmask(how, &set, &before);
        found[world] = kind < 2 ? 0 : static_cast<int>(word(before));
      }
    });
    require_same(found, "the old functions say the same");
  }

  void send() {
    const int signal = input_.one_of<int>({SIGSEGV, SIGBUS, SIGUSR1});
    // One that is ignored would wait until its action is set again, which keep_handler may do.
    if (without.actions[static_cast<std::size_t>(signal)].sa_handler != SIG_IGN) {
      twice([&](bool, int) { kernel->send(signal); });
    }
  }

  /// One call of the program's handler.
  void call_handler() {
    const int signal = input_.one_of<int>({SIGSEGV, SIGBUS});
    if ((keep::kept & bit(signal)) == 0) {
      return;
    }
    kernel = &below;
    const struct sigaction found = keep::take_program_action(signal);
    struct sigaction& expected = without.actions[static_cast<std::size_t>(signal)];
    same_actions(found, expected);
    const bool is_handler = expected.sa_handler != SIG_DFL && expected.sa_handler != SIG_IGN;
    if (is_handler && (expected.sa_flags & static_cast<int>(SA_RESETHAND)) != 0) {
      expected.sa_handler = SIG_DFL;
    }
  }

  void change_alternate_stack() {
    stack_t stack{};
    stack.ss_sp = &memory_[input_.from(0, 3)];
    stack.ss_size = input_.one_of<std::size_t>({0, 2047, 2048, 8192, 65536});
    stack.ss_flags =
        input_.one_of<int>({0, SS_ONSTACK, SS_DISABLE, auto_disarm, 4, auto_disarm | SS_DISABLE});
    const bool sets = input_.flag();
    int error[2]{};
    stack_t old[2]{};
    twice([&](bool is_kept, int world) {
      const stack_t* const wanted = sets ? &stack : nullptr;
      errno = 0;
      error[world] =
          is_kept ? keep_sigaltstack(wanted, &old[world]) : fake_sigaltstack(wanted, &old[world]);
      error[world] = error[world] == 0 ? 0 : errno;
    });
    require_same(error, "sigaltstack fails alike");
    require(old[0].ss_sp == old[1].ss_sp && old[0].ss_size == old[1].ss_size &&
                old[0].ss_flags == old[1].ss_flags,
            "the program sees its own alternate stack");
  }

  // ---- what the program must not notice ---------------------------------------------------------

  void keep_or_give_back() {
    const int signal = input_.one_of<int>({SIGSEGV, SIGBUS});
    kernel = &below;
    if ((keep::kept & bit(signal)) != 0) {
      require(keep::give_back(signal) == 0, "a signal is given back");
      return;
    }
    struct sigaction action {};
    action.sa_sigaction = &ours;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    set_word(action.sa_mask, ~std::uint64_t{0});
    require(keep::keep(signal, &action, [] { return false; }) == 0, "a signal is kept");
    require(keep::unblock() == 0, "it is not blocked");
  }

  void attach_or_detach() {
    const stack_t own{.ss_sp = &memory_[9], .ss_flags = 0, .ss_size = 65536};
    kernel = &below;
    if (is_attached_) {
      require(keep::give_back_alternate_stack(&own) == 0, "the alternate stack is given back");
    } else {
      require(keep::keep_alternate_stack(&own, 16384, true) == 0, "the alternate stack is kept");
    }
    is_attached_ = !is_attached_;
  }

  void check() const {
    const std::uint64_t kept = keep::kept;
    require((below.mask & kept) == 0, "no kept signal is blocked");
    for (const int signal : {SIGSEGV, SIGBUS, SIGUSR1, 64}) {
      const struct sigaction& action = below.actions[static_cast<std::size_t>(signal)];
      if ((kept & bit(signal)) != 0) {
        require(action.sa_sigaction == &ours, "our handler stays the first one");
      } else {
        require((word(action.sa_mask) & kept) == 0, "no other handler blocks a kept signal");
      }
    }
    require(!is_attached_ || below.alternate.ss_size >= 16384,
            "the alternate stack in force is large enough");
    require(below.delivered == without.delivered,
            "what was sent arrives as often, and when it should");
    kernel = &below;
    sigset_t found{};
    keep_sigpending(&found);
    require_equal(word(found), without.pending, "what waits is told");
  }

  /// Leaves all as it is in a new process.
  void end() {
    while (keep::kept != 0) {
      kernel = &below;
      require(keep::give_back((keep::kept & bit(SIGSEGV)) != 0 ? SIGSEGV : SIGBUS) == 0, "the end");
    }
    if (is_attached_) {
      attach_or_detach();
    }
    check();
    for (int signal = 1; signal <= 64; ++signal) {
      same_actions(below.actions[static_cast<std::size_t>(signal)],
                   without.actions[static_cast<std::size_t>(signal)]);
    }
    require_equal(below.mask, without.mask, "the program has its mask back");
    require(below.alternate.ss_sp == without.alternate.ss_sp, "and its alternate stack");
    below = {};
    without = {};
    keep::drop_held(SIGSEGV);
    keep::drop_held(SIGBUS);
    for (int signal = 1; signal <= 64; ++signal) {
      keep::forget_removed_bits(signal);
    }
  }

 private:
  int any_signal() { return input_.one_of<int>({SIGSEGV, SIGBUS, SIGUSR1, SIGKILL, 64, 0, 65}); }
  std::uint64_t any_signals() {
    const std::uint64_t chosen = input_.bytes(1);
    std::uint64_t signals = 0;
    unsigned place = 0;
    for (const int signal : {SIGSEGV, SIGBUS, SIGUSR1, SIGKILL}) {
      signals |= (chosen >> place++ & 1U) != 0 ? bit(signal) : 0;
    }
    return signals;
  }

  template <class Call>
  void twice(Call call) {
    below.has_keeper = true;
    kernel = &below;
    call(true, 0);
    kernel = &without;
    call(false, 1);
  }

  static void require_same(const int (&found)[2], const char* promise) {
    require_equal(static_cast<std::uint64_t>(found[0]), static_cast<std::uint64_t>(found[1]),
                  promise);
  }
  static void same_actions(const struct sigaction& found, const struct sigaction& expected) {
    require(found.sa_handler == expected.sa_handler, "the program sees its own handler");
    require_equal(word(found.sa_mask), word(expected.sa_mask), "and its own mask of it");
    require_equal(static_cast<std::uint64_t>(found.sa_flags),
                  static_cast<std::uint64_t>(expected.sa_flags), "and its own flags");
    require(found.sa_restorer == expected.sa_restorer, "and what libc adds");
  }

  Input& input_;
  bool is_attached_ = false;
  std::array<char, 16> memory_{};  // its addresses stand for stacks
};

}  // namespace

void* fake_function(const char* name) noexcept {
  const std::string_view wanted(name);
  return wanted == "sigaction"         ? reinterpret_cast<void*>(&fake_sigaction)
         : wanted == "pthread_sigmask" ? reinterpret_cast<void*>(&error_of_mask_change)
         : wanted == "sigprocmask"     ? reinterpret_cast<void*>(&fake_sigprocmask)
         : wanted == "sigpending"      ? reinterpret_cast<void*>(&fake_sigpending)
         : wanted == "sigaltstack"     ? reinterpret_cast<void*>(&fake_sigaltstack)
                                       : nullptr;
}

void try_input(Input& input) {
  Program program(input);
  while (!input.is_over()) {
    switch (input.from(0, 8)) {
      case 0:
        program.keep_or_give_back();
        break;
      case 1:
        program.attach_or_detach();
        break;
      case 2:
        program.change_mask();
        break;
      case 3:
        program.change_mask_as_of_old();
        break;
      case 4:
        program.send();
        break;
      case 5:
        program.call_handler();
        break;
      case 6:
        program.change_alternate_stack();
        break;
      default:
        program.change_action();
    }
    program.check();
  }
  program.end();
}

}  // namespace growstack::inputs

extern "C" {

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

/// keep_handler sends a held signal to its own thread again.
long __wrap_syscall(long number, ...) {
  std::va_list list;
  va_start(list, number);
  std::array<long, 5> arguments{};  // what is in registers: nobody here needs more
  for (long& each : arguments) {
    each = va_arg(list, long);
  }
  va_end(list);
  if (number == SYS_rt_tgsigqueueinfo) {
    growstack::inputs::kernel->send(static_cast<int>(arguments[2]));
    return 0;
  }
  return __real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3],
                        arguments[4]);
}
}
