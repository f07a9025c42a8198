// Promises near the limit: the kernel writes a signal's frame below the stack pointer, and some
// functions of libc block every signal, the signal of a fault included, and go on. Both need memory
// there at a moment when nobody can make any.
#include "promises/machine.hpp"
#include "promises/promise.hpp"

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

namespace growstack::compare::promises {
namespace {

constexpr std::size_t alignment = 16;

/// Returns the lowest committed address, or the middle of the stack if nobody keeps a limit.
std::uintptr_t edge(const AnyStack& stack) {
  return stack.limit() == stack.floor()
             ? handler::page_down(stack.base() - (stack.base() - stack.floor()) / 2)
             : stack.limit();
}

// ---- a signal -----------------------------------------------------------------------------------

std::atomic<bool> handled{false};

/// Raises a signal at some distances from the edge, each less than a signal's frame and in a worker
/// of its own. The worker says whether the handler ran. Returns the worst end.
template <int flags>
Fate deliver(const Question& question) {
  constexpr std::array<std::size_t, 3> distances{alignment, 512, 768};
  Fate worst{.said = true};
  for (const std::size_t distance : distances) {
    Fate fate = on_stack(question, [&](AnyStack& stack) {
      struct sigaction action {};
      action.sa_handler = [](int) { handled = true; };
      action.sa_flags = flags;
      require(sigaction(SIGUSR1, &action, nullptr) == 0, "sigaction");
      const auto process = static_cast<std::uintptr_t>(getpid());
      const auto thread = static_cast<std::uintptr_t>(gettid());
      syscall_at(edge(stack) + distance, SYS_tgkill, process, thread, SIGUSR1);
      return handled.load();
    });
    if (!fate.survived()) {
      return fate;
    }
    if (fate.said == false) {
      worst = std::move(fate);
    }
  }
  return worst;
}

Cell delivered(const nlohmann::json& said) { return said == true ? yes("delivered") : no("lost"); }

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

/// Calls the function at each position within 6 KiB above the edge, each time on a fresh stack, and
/// goes on in another worker after a position that kills by another signal than `wanted`. Says
/// how many "deaths" there were.
template <void (*function)(void*)>
Fate scan(const Question& question) {
  constexpr std::size_t covered = 6 * kib;
  constexpr std::size_t small = 512 * kib;  // nearly every position that kills takes a new one
  const std::size_t stride = question.quick ? 4 * alignment : alignment;
  const std::size_t positions = covered / stride;
  const std::string wanted = function == abort_here ? "SIGABRT" : "";
  auto& at = shared<std::atomic<std::size_t>>();
  std::size_t deaths = 0;
  std::string killer;
  const auto scan_the_rest = [&] {
    const auto stack = make(question.subject, small);
    for (; at < positions; ++at) {
      stack->run([&] { call_at(edge(*stack) + at * stride, function, nullptr); });
      if (stack->limit() != stack->floor()) {
        trim(*stack);
      }
    }
    return nullptr;
  };
  for (; at < positions; ++at) {
    Fate fate = in_worker(scan_the_rest, std::chrono::seconds(15));
    if (fate.hung) {
      fate.failure = fmt::format("hung at position {} of {}", at.load(), positions);
    }
    if (!fate.failure.empty()) {
      return fate;
    }
    if (!fate.survived() && fate.killer != wanted) {
      ++deaths;
      killer = fate.word();
    }
  }
  return {.said = {{"deaths", deaths}, {"note", killer.empty() ? "" : "by " + killer}}};
}

}  // namespace

Family promises_near_limit() {
  return {
      "Signals, and libc functions that block them, near the limit",
      "The stack pointer is close above the limit, or in the middle of the stack if nobody keeps a "
      "limit. There a signal arrives whose frame needs more than is committed, or a function of "
      "libc blocks all signals and then uses the stack. Nobody can grow the stack by a signal at "
      "such a moment. The functions are called at 384 positions: every 16 bytes, up to 6 KiB above "
      "the limit (with --quick at 96, every 64 bytes). Each call finds a fresh stack.",
      {{"signal_plain", "a signal without SA_ONSTACK",
        "The handler runs for a signal 16, 512 and 768 bytes above the limit. The worst case "
        "counts.",
        deliver<0>, if_survived(delivered)},
       {"signal_onstack", "a signal with SA_ONSTACK",
        "A handler with SA_ONSTACK runs for the same three signals.", deliver<SA_ONSTACK>,
        if_survived(delivered)},
       {"posix_spawn_deaths", "positions where posix_spawn kills",
        "The process dies in posix_spawn at this many positions.", scan<spawn>, figure("deaths"),
        deaths},
       {"system_deaths", "positions where system kills",
        "The process dies in system at this many positions.", scan<run_shell>, figure("deaths"),
        deaths},
       {"popen_deaths", "positions where popen kills",
        "The process dies in popen at this many positions.", scan<open_pipe>, figure("deaths"),
        deaths},
       {"abort_deaths", "positions where abort dies otherwise",
        "The process dies in abort of another signal than SIGABRT at this many positions.",
        scan<abort_here>, figure("deaths"), deaths}}};
}

}  // namespace growstack::compare::promises
