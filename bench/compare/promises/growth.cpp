// Promises of growth itself, and of growth under odd circumstances: after a trim, in a forked
// child, with signals blocked, without an alternate signal stack, without privileges.
#include "machine.hpp"
#include "worker.hpp"

#include <growstack/strategy.hpp>

#include <growstack/handler/pages.hpp>

#include <fmt/format.h>

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

void require(bool done, const char* call) {
  if (!done) {
    throw std::system_error(errno, std::generic_category(), call);
  }
}

/// In a worker, a stack that goes down once: how that ended.
Fate grow_after(const Question& question, const std::function<void()>& on_the_stack) {
  return in_worker([&] {
    const auto stack = make(question.subject);
    stack->run([&] {
      on_the_stack();
      go_down(*stack);
    });
    return nlohmann::json(stack->growth_events());
  });
}

Cell growth_events(const Question& question) {
  const Fate fate = grow_after(question, [] {});
  return fate.survived() ? number(fate.said.get<double>()) : survival(fate);
}

Cell with_faults_blocked(const Question& question) {
  return survival(grow_after(question, [] {
    sigset_t faults;
    sigemptyset(&faults);
    sigaddset(&faults, SIGSEGV);
    sigaddset(&faults, SIGBUS);
    require(pthread_sigmask(SIG_BLOCK, &faults, nullptr) == 0, "pthread_sigmask");
  }));
}

/// As on a thread that nobody attached.
Cell without_alternate_stack(const Question& question) {
  return survival(grow_after(question, [] {
    const stack_t disabled{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
    require(sigaltstack(&disabled, nullptr) == 0, "sigaltstack");
  }));
}

Cell after_trim(const Question& question) {
  const Fate fate = in_worker([&] {
    const auto stack = make(question.subject);
    const auto once = [&] { stack->run([&] { go_down(*stack); }); };
    once();
    const std::error_code error = stack->trim();
    if (!error) {
      once();
    }
    return nlohmann::json(error == std::errc::not_supported ? "no trim"
                          : error                           ? error.message()
                                                            : "");
  });
  if (!fate.survived() || fate.said == "") {
    return survival(fate);
  }
  return fate.said == "no trim" ? no_trim()
                                : none("trim: " + fate.said.get<std::string>(), "fails");
}

// ---- fork ---------------------------------------------------------------------------------------

/// The child of a worker's fork, as this worker's answer.
nlohmann::json to_json(const Fate& fate) {
  return {{"survived", fate.survived()}, {"word", fate.word()}};
}

Cell child_of_fork(const Fate& worker) {
  if (!worker.survived()) {
    return survival(worker);
  }
  return worker.said.at("survived").get<bool>() ? yes()
                                                : no(worker.said.at("word").get<std::string>());
}

constexpr std::chrono::seconds patience_of_worker{2};

Cell forked_on_the_stack(const Question& question) {
  return child_of_fork(in_worker([&] {
    const auto stack = make(question.subject);
    nlohmann::json child;
    stack->run([&] {
      child = to_json(in_worker(
          [&] {
            go_down(*stack);
            return nlohmann::json();
          },
          patience_of_worker));
    });
    return child;
  }));
}

Cell forked_beside_the_stack(const Question& question) {
  return child_of_fork(in_worker([&] {
    const auto stack = make(question.subject);
    stack->run([] {});
    return to_json(in_worker(
        [&] {
          stack->run([&] { go_down(*stack); });
          return nlohmann::json();
        },
        patience_of_worker));
  }));
}

// ---- privileges ---------------------------------------------------------------------------------

/// Nobody in particular, with no capability and no way to get one; and as dumpable as a program
/// that was started so.
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

Cell works_unprivileged(const Question& question) {
  const Fate fate = in_worker([&] {
    drop_privileges();
    const auto stack = make(question.subject);
    stack->run([&] { go_down(*stack); });
    return nlohmann::json();
  });
  return fate.failure.empty() ? survival(fate) : no("no", fate.failure);
}

/// For what a strategy may lose without privileges: faults in the kernel.
Cell call_unprivileged(const Question& question) {
  const Fate fate = in_worker([&] {
    drop_privileges();
    const auto stack = make(question.subject);
    long result = 0;
    stack->run([&] {
      constexpr std::size_t bytes = 256;
      const std::uintptr_t buffer = handler::page_down(stack->base() - depth);
      result = syscall_at(buffer - bytes, SYS_getrandom, buffer, bytes);
    });
    return nlohmann::json(result > 0);
  });
  if (!fate.survived()) {
    return fate.failure.empty() ? survival(fate) : no("no", fate.failure);
  }
  return fate.said.get<bool>() ? yes() : no("EFAULT");
}

// ---- the kernel ---------------------------------------------------------------------------------

/// From the strategy's description: as a number, 5.10 is 5.10 and 5.9 is 5.09; 0 for any.
Cell least_kernel(const Question& question) {
  for (const StrategyDescription& each : strategies()) {
    if (each.name == question.subject) {
      const std::string version(each.least_kernel);
      const std::size_t dot = version.find('.');
      if (version.empty() || std::isdigit(static_cast<unsigned char>(version.front())) == 0) {
        return {.value = 0, .word = version};  // "any"
      }
      const double minor = dot == std::string::npos ? 0 : std::stod(version.substr(dot + 1));
      constexpr double minors = 100;
      return {.value = std::stod(version.substr(0, dot)) + minor / minors, .word = version};
    }
  }
  return {.value = 0, .word = "any"};
}

Cells ask_life(const Question& question) {
  return {{"growth_events", growth_events(question)},
          {"regrows", after_trim(question)},
          {"fork_on", forked_on_the_stack(question)},
          {"fork_beside", forked_beside_the_stack(question)},
          {"sigsegv_blocked", with_faults_blocked(question)},
          {"no_altstack", without_alternate_stack(question)},
          {"unprivileged", works_unprivileged(question)},
          {"unprivileged_call", call_unprivileged(question)},
          {"least_kernel", least_kernel(question)}};
}

}  // namespace

Family promises_of_life() {
  return {.title = "Growth",
          .what_was_done =
              "A stack of 4 MiB was taken down by one MiB, page by page: how many faults of its "
              "own it saw. Then under odd "
              "circumstances: again after a trim; in the child of a fork made on the stack, and of "
              "one made beside it; with "
              "SIGSEGV and SIGBUS blocked; with no alternate signal stack, as on a thread that "
              "nobody attached; as user 65534 "
              "without capabilities, and there with a bare getrandom into untouched memory. The "
              "least kernel is what the "
              "strategy's description says.",
          .probes = {{.name = "life",
                      .promises = {{"growth_events", "faults seen on the way to 1 MiB", "faults"},
                                   {"regrows", "grows again after a trim", "1/0"},
                                   {"fork_on", "grows in a child forked on it", "1/0"},
                                   {"fork_beside", "grows in a child forked beside it", "1/0"},
                                   {"sigsegv_blocked", "grows with SIGSEGV, SIGBUS blocked", "1/0"},
                                   {"no_altstack", "needs no alternate signal stack", "1/0"},
                                   {"unprivileged", "works without privileges", "1/0"},
                                   {"unprivileged_call", "there, a bare getrandom", "1/0"},
                                   {"least_kernel", "least kernel", "version"}},
                      .ask = ask_life,
                      .patience = std::chrono::seconds(60)}}};
}

}  // namespace growstack::compare::promises
