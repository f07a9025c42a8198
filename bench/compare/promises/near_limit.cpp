// Promises near the limit: the kernel writes a signal's frame below the stack pointer, and libc
// calls functions with every signal blocked, that of the fault included. Both need memory there at
// a moment when nobody can make any.
#include "machine.hpp"
#include "worker.hpp"

#include <growstack/handler/pages.hpp>

#include <fmt/format.h>

#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace growstack::compare::promises {
namespace {

constexpr std::size_t alignment = 16;

// ---- a signal -----------------------------------------------------------------------------------

std::atomic<int> handled{0};

void count_signal(int) { handled = handled + 1; }

/// In a worker: raises SIGUSR1 with the stack pointer `distance` above the edge. Whether the
/// handler ran.
nlohmann::json raise_near_edge(const Question& question, int flags, std::size_t distance) {
  struct sigaction action {};
  action.sa_handler = count_signal;
  action.sa_flags = flags;
  if (sigaction(SIGUSR1, &action, nullptr) != 0) {
    throw std::system_error(errno, std::generic_category(), "sigaction");
  }
  const auto stack = make(question.subject);
  stack->run([&] {
    const auto process = static_cast<std::uintptr_t>(getpid());
    const auto thread = static_cast<std::uintptr_t>(gettid());
    syscall_at(edge(*stack) + distance, SYS_tgkill, process, thread, SIGUSR1);
  });
  return handled.load() == 1;
}

/// The worst that happens at some distances, all of them less than a signal's frame.
Cell deliver(const Question& question, int flags) {
  constexpr std::array<std::size_t, 3> distances{alignment, 512, 768};
  Cell worst = yes("delivered");
  for (const std::size_t distance : distances) {
    const Fate fate = in_worker([&] { return raise_near_edge(question, flags, distance); });
    if (!fate.survived()) {
      return survival(fate);
    }
    if (!fate.said.get<bool>()) {
      worst = no("lost");
    }
  }
  return worst;
}

Cells ask_signals(const Question& question) {
  return {{"signal_plain", deliver(question, 0)},
          {"signal_onstack", deliver(question, SA_ONSTACK)}};
}

// ---- libc functions that block every signal -----------------------------------------------------

extern "C" char** environ;  // NOLINT: POSIX's own

void spawn(void*) {
  const char* const path = "/bin/true";
  std::array<char*, 2> arguments{const_cast<char*>(path), nullptr};
  pid_t child = 0;
  if (posix_spawn(&child, path, nullptr, nullptr, arguments.data(), environ) == 0) {
    waitpid(child, nullptr, 0);
  }
}

void run_shell(void*) { static_cast<void>(std::system("exit 0")); }

void open_pipe(void*) {
  if (std::FILE* const pipe = popen("exit 0", "r"); pipe != nullptr) {
    pclose(pipe);
  }
}

void abort_here(void*) { std::abort(); }

struct Scan {
  std::size_t positions = 0;
  std::size_t stride = alignment;
};

/// 6 KiB above the limit, in steps of 16 bytes; with --quick, of 64.
Scan scan_of(const Question& question) {
  constexpr std::size_t covered = 6 * kib;
  const std::size_t stride = question.quick ? 4 * alignment : alignment;
  return {.positions = covered / stride, .stride = stride};
}

/// Small, for one is made for nearly every position that kills.
constexpr std::size_t stack_of_scan = 512 * kib;

/// In a worker: one position after the other, on a stack that is as fresh at each; `at` tells where
/// it is.
void call_at_each(const Question& question, const Scan& scan, void (*function)(void*),
                  std::atomic<std::size_t>& at) {
  auto stack = make(question.subject, stack_of_scan);
  for (; at < scan.positions; ++at) {
    stack->run([&] { call_at(edge(*stack) + at * scan.stride, function, nullptr); });
    if (stack->limit() != stack->floor() && stack->trim()) {
      stack = nullptr;
      stack = make(question.subject, stack_of_scan);
    }
  }
}

/// How many positions kill the process by another signal than `wanted` (what abort() is to die of).
Cell count_deaths(const Question& question, void (*function)(void*), const std::string& wanted) {
  const Scan scan = scan_of(question);
  const Shared<std::atomic<std::size_t>> at;
  std::size_t deaths = 0;
  std::string killer;
  while (*at < scan.positions) {
    const Fate fate = in_worker(
        [&] {
          call_at_each(question, scan, function, *at);
          return nlohmann::json();
        },
        std::chrono::seconds(15));
    if (fate.survived()) {
      break;
    }
    if (!fate.failure.empty() || fate.hung) {
      return none(fate.hung ? fmt::format("hung at position {} of {}", at->load(), scan.positions)
                            : fate.failure,
                  fate.word());
    }
    if (fate.killer != wanted) {
      ++deaths;
      killer = fate.word();
    }
    ++*at;
  }
  return number(static_cast<double>(deaths), deaths == 0 ? "" : "by " + killer);
}

Cells ask_spawn(const Question& question) {
  return {{"posix_spawn_deaths", count_deaths(question, spawn, "")}};
}
Cells ask_system(const Question& question) {
  return {{"system_deaths", count_deaths(question, run_shell, "")}};
}
Cells ask_popen(const Question& question) {
  return {{"popen_deaths", count_deaths(question, open_pipe, "")}};
}
Cells ask_abort(const Question& question) {
  return {{"abort_deaths", count_deaths(question, abort_here, "SIGABRT")}};
}

constexpr std::chrono::seconds patience_for_scans{60};

}  // namespace

Family promises_of_signals() {
  return {.title = "Signals, and libc functions that block them, near the limit",
          .what_was_done =
              "A signal was raised with the stack pointer 16, 512 and 768 bytes above limit (where "
              "nobody keeps a limit: in the "
              "middle of the stack), less than a signal's frame needs; what is told is the worst "
              "of the three. Functions of "
              "libc "
              "that block every signal were called at every distance from limit up to 6 KiB, in "
              "steps of 16 bytes (64 with "
              "--quick), each on a stack as fresh as the first: how many of these 384 (96) "
              "positions kill the process. For "
              "abort(), which kills anyway: by another signal than SIGABRT.",
          .probes = {
              {.name = "signals",
               .promises = {{"signal_plain", "a signal without SA_ONSTACK", "1/0"},
                            {"signal_onstack", "a signal with SA_ONSTACK", "1/0"}},
               .ask = ask_signals},
              {.name = "posix_spawn",
               .promises = {{"posix_spawn_deaths", "positions where posix_spawn kills", "deaths"}},
               .ask = ask_spawn,
               .patience = patience_for_scans},
              {.name = "system",
               .promises = {{"system_deaths", "positions where system kills", "deaths"}},
               .ask = ask_system,
               .patience = patience_for_scans},
              {.name = "popen",
               .promises = {{"popen_deaths", "positions where popen kills", "deaths"}},
               .ask = ask_popen,
               .patience = patience_for_scans},
              {.name = "abort",
               .promises = {{"abort_deaths", "positions where abort dies otherwise", "deaths"}},
               .ask = ask_abort,
               .patience = patience_for_scans}}};
}

}  // namespace growstack::compare::promises
