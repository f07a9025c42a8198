// Promises of growth itself, and of growth under unusual circumstances: after a trim, in a forked
// child, with signals blocked, without an alternate signal stack, without privileges.
#include "machine.hpp"
#include "promise.hpp"
#include "stacks.hpp"

#include <growstack/strategy.hpp>

#include <growstack/handler/pages.hpp>

#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cctype>
#include <csignal>

namespace growstack::compare::promises {
namespace {

Fate grow(const Question& question) {
  return on_stack(question, [](AnyStack& stack) {
    go_down(stack);
    return stack.growth_events();
  });
}

Fate grow_with_faults_blocked(const Question& question) {
  return on_stack(question, [](AnyStack& stack) {
    sigset_t faults;
    sigemptyset(&faults);
    sigaddset(&faults, SIGSEGV);
    sigaddset(&faults, SIGBUS);
    require(pthread_sigmask(SIG_BLOCK, &faults, nullptr) == 0, "pthread_sigmask");
    go_down(stack);
    return nullptr;
  });
}

Fate grow_without_alternate_stack(const Question& question) {
  return on_stack(question, [](AnyStack& stack) {
    const stack_t disabled{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
    require(sigaltstack(&disabled, nullptr) == 0, "sigaltstack");
    go_down(stack);
    return nullptr;
  });
}

/// The worker says whether the subject has a trim.
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

// ---- fork ---------------------------------------------------------------------------------------

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

// ---- privileges ---------------------------------------------------------------------------------

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

Fate grow_without_privileges(const Question& question) {
  const auto body = [](AnyStack& stack) {
    go_down(stack);
    return nullptr;
  };
  return on_stack(question, body, drop_privileges);
}

/// Tries it apart from growth, because strategies may lose faults in the kernel together with the
/// privileges. The worker says whether the call succeeded.
Fate call_without_privileges(const Question& question) {
  const auto body = [](AnyStack& stack) {
    constexpr std::size_t bytes = 256;
    const std::uintptr_t buffer = handler::page_down(stack.base() - depth);
    return syscall_at(buffer - bytes, SYS_getrandom, buffer, bytes) > 0;
  };
  return on_stack(question, body, drop_privileges);
}

/// A stack that could not be made is a no here.
Cell unprivileged(const Fate& fate) {
  if (!fate.failure.empty()) {
    return no("no", fate.failure);
  }
  return fate.said == false ? no("EFAULT") : survival(fate);
}

// ---- the kernel ---------------------------------------------------------------------------------

Fate read_description(const Question& question) {
  for (const StrategyDescription& each : strategies()) {
    if (each.name == question.subject) {
      return {.said = each.least_kernel};
    }
  }
  return {.said = "any"};
}

/// As a number, 5.10 is 5.10 and 5.9 is 5.09; 0 for any.
Cell least_kernel(const nlohmann::json& said) {
  constexpr double minors = 100;
  const std::string version = said;
  if (std::isdigit(static_cast<unsigned char>(version.front())) == 0) {
    return {.value = 0, .word = version};
  }
  const std::size_t dot = version.find('.');
  const double minor = dot == std::string::npos ? 0 : std::stod(version.substr(dot + 1));
  return {.value = std::stod(version.substr(0, dot)) + minor / minors, .word = version};
}

}  // namespace

Family promises_of_growth() {
  return {
      .title = "Growth",
      .setting =
          "Code on a stack of 4 MiB goes down: it touches the stack page by page, to 1 MiB below "
          "the base. A signal's name says that the process died of it.",
      .promises =
          {{.name = "growth_events",
            .title = "faults seen on the way to 1 MiB",
            .sentence = "How many faults the subject itself saw and grew the stack for. Where the "
                        "kernel fills the stack, there is nothing to see.",
            .experiment = grow,
            .cell = if_survived([](const nlohmann::json& said) { return number(said); }),
            .unit = "faults"},
           {.name = "regrows",
            .title = "grows again after a trim",
            .sentence = "The code goes down, the stack is trimmed, and the code goes down again.",
            .experiment = grow_again_after_trim,
            .cell = if_survived(
                [](const nlohmann::json& said) { return said == true ? yes() : no_trim(); })},
           {.name = "fork_on",
            .title = "grows in a child forked on it",
            .sentence = "Code on the fresh stack forks, and its child goes down.",
            .experiment = fork_on_the_stack,
            .cell = if_survived(end_of_child)},
           {.name = "fork_beside",
            .title = "grows in a child forked beside it",
            .sentence = "The process makes the stack, forks outside of it, and the child enters it "
                        "and goes down.",
            .experiment = fork_beside_the_stack,
            .cell = if_survived(end_of_child)},
           {.name = "sigsegv_blocked",
            .title = "grows with SIGSEGV, SIGBUS blocked",
            .sentence = "The code blocks both signals and goes down.",
            .experiment = grow_with_faults_blocked},
           {.name = "no_altstack",
            .title = "needs no alternate signal stack",
            .sentence = "The code disables the thread's alternate signal stack and goes down. A "
                        "thread that nobody attached has none.",
            .experiment = grow_without_alternate_stack},
           {.name = "unprivileged",
            .title = "works without privileges",
            .sentence = "The process becomes user 65534 without any capability, makes the stack "
                        "and goes down.",
            .experiment = grow_without_privileges,
            .cell = unprivileged},
           {.name = "unprivileged_call",
            .title = "there, a bare getrandom",
            .sentence = "The process drops its privileges as well and has the kernel write to the "
                        "stack where nobody has touched it.",
            .experiment = call_without_privileges,
            .cell = unprivileged},
           {.name = "least_kernel",
            .title = "least kernel",
            .sentence = "The Linux version that the description of the strategy names.",
            .experiment = read_description,
            .cell = if_survived(least_kernel),
            .unit = "version"}},
  };
}

}  // namespace growstack::compare::promises
