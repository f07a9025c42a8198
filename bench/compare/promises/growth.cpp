// Promises of growth itself, and of growth under unusual circumstances: after a trim, in a forked
// child, with signals blocked, without an alternate signal stack, without privileges.
#include "promises/machine.hpp"
#include "promises/promise.hpp"

#include <growstack/strategy.hpp>

#include <growstack/handler/pages.hpp>

#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>

namespace growstack::compare::promises {
namespace {

/// Calls first(), if there is one, on the stack and goes down. The worker says how many "faults"
/// the subject saw.
template <void (*first)()>
Fate grow_after(const Question& question) {
  return on_stack(question, [](AnyStack& stack) -> nlohmann::json {
    if constexpr (first != nullptr) {
      first();
    }
    go_down(stack);
    return {{"faults", stack.growth_events()}};
  });
}

void block_faults() {
  sigset_t faults;
  sigemptyset(&faults);
  sigaddset(&faults, SIGSEGV);
  sigaddset(&faults, SIGBUS);
  require(pthread_sigmask(SIG_BLOCK, &faults, nullptr) == 0, "pthread_sigmask");
}

void disable_alternate_stack() {
  const stack_t disabled{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
  require(sigaltstack(&disabled, nullptr) == 0, "sigaltstack");
}

/// Goes down, trims, and goes down again. The worker says whether the subject has a trim.
Fate grow_again_after_trim(const Question& question) {
  return in_worker([&] {
    const auto stack = make(question.subject);
    stack->run([&] { go_down(*stack); });
    const bool trimmed = trim(*stack);
    if (trimmed) {
      stack->run([&] { go_down(*stack); });
    }
    return trimmed;
  });
}

/// Runs body in a forked child. Returns how the child ended; empty if it survived.
std::string in_child(const std::function<void()>& body) {
  const Fate child = in_worker(
      [&] {
        body();
        return nullptr;
      },
      std::chrono::seconds(2));
  return child.survived() ? "" : child.word();
}

Fate fork_on_the_stack(const Question& question) {
  return on_stack(question, [](AnyStack& stack) { return in_child([&] { go_down(stack); }); });
}

Fate fork_beside_the_stack(const Question& question) {
  return in_worker([&] {
    const auto stack = make(question.subject);
    stack->run([] {});
    return in_child([&] { stack->run([&] { go_down(*stack); }); });
  });
}

Cell end_of_child(const nlohmann::json& said) {
  return said == "" ? yes() : no(said.get<std::string>());
}

/// Becomes nobody in particular, with no capability and no way to get one, and as dumpable as a
/// program that such a user started.
void drop_privileges() {
  constexpr unsigned nobody = 65534;
  if (geteuid() == 0) {
    require(setgroups(0, nullptr) == 0, "setgroups");
    require(setresgid(nobody, nobody, nobody) == 0, "setresgid");
    require(setresuid(nobody, nobody, nobody) == 0, "setresuid");
  }
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  const std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> no_capability{};
  require(syscall(SYS_capset, &header, no_capability.data()) == 0, "capset");
  require(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS");
  require(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0, "PR_SET_DUMPABLE");
}

/// Runs body on a stack of a process without privileges. The worker says whether all went well.
template <bool (*body)(AnyStack& stack)>
Fate without_privileges(const Question& question) {
  return on_stack(question, body, drop_privileges);
}

bool grow(AnyStack& stack) {
  go_down(stack);
  return true;
}

/// Returns whether the kernel could write to untouched memory: a strategy may need a privilege for
/// that.
bool call_into_untouched(AnyStack& stack) {
  constexpr std::size_t bytes = 256;
  const std::uintptr_t buffer = handler::page_down(stack.base() - depth);
  return syscall_at(buffer - bytes, SYS_getrandom, buffer, bytes) > 0;
}

/// Returns no, unlike survival(), if the stack could not be made.
Cell unprivileged(const Fate& fate) {
  if (!fate.failure.empty()) {
    return no("no", fate.failure);
  }
  return fate.said == false ? no("EFAULT") : survival(fate);
}

Fate read_description(const Question& question) {
  for (const StrategyDescription& each : strategies()) {
    if (each.name == question.subject) {
      return {.said = each.least_kernel};
    }
  }
  return {.said = "any"};
}

/// Makes the number 5.10 of "5.10", 5.09 of "5.9", and 0 of "any".
Cell least_kernel(const nlohmann::json& said) {
  constexpr double minors = 100;
  const std::string version = said;
  int major = 0;
  int minor = 0;
  static_cast<void>(std::sscanf(version.c_str(), "%d.%d", &major, &minor));
  return {.value = major + minor / minors, .word = version};
}

}  // namespace

Family promises_of_growth() {
  return {"Growth",
          "Code on a stack of 4 MiB goes down: it touches page after page, until it is 1 MiB below "
          "the base.",
          {{"growth_events", "faults seen on the way to 1 MiB",
            "The subject saw this many faults. It sees none if the kernel fills the stack, or "
            "nobody does.",
            grow_after<nullptr>, figure("faults"), "faults"},
           {"regrows", "grows again after a trim",
            "The code goes down, the stack is trimmed, and the code goes down again.",
            grow_again_after_trim, if_survived([](const nlohmann::json& said) {
              return said == true ? yes() : no_trim();
            })},
           {"fork_on", "grows in a child forked on it",
            "Code on the stack forks, and the child goes down.", fork_on_the_stack,
            if_survived(end_of_child)},
           {"fork_beside", "grows in a child forked beside it",
            "The process forks while nothing runs on the stack, and the child goes down on it.",
            fork_beside_the_stack, if_survived(end_of_child)},
           {"sigsegv_blocked", "grows with SIGSEGV, SIGBUS blocked",
            "The code blocks both signals before it goes down.", grow_after<block_faults>},
           {"no_altstack", "needs no alternate signal stack",
            "The code disables its alternate signal stack first. A thread that nobody attached has "
            "none.",
            grow_after<disable_alternate_stack>},
           {"unprivileged", "works without privileges",
            "The process becomes user 65534 without capabilities before it makes the stack.",
            without_privileges<grow>, unprivileged},
           {"unprivileged_call", "there, a bare getrandom",
            "In such a process the kernel writes to stack memory that nobody has touched.",
            without_privileges<call_into_untouched>, unprivileged},
           {"least_kernel", "least kernel",
            "The description of the strategy names this version of Linux.", read_description,
            if_survived(least_kernel), "version"}}};
}

}  // namespace growstack::compare::promises
