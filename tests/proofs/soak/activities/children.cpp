// Children: of fork(2), which have a copy of everything; of vfork(2), which share it; and such as
// die of an overflow, and report it.
#include <growstack/growstack.hpp>

#include "proofs/soak/activities/list.hpp"
#include "proofs/soak/counts.hpp"
#include "proofs/soak/fiber.hpp"
#include "proofs/soak/last_words.hpp"
#include "proofs/soak/use_stack.hpp"
#include "proofs/soak/world.hpp"
#include "support/address_of.hpp"
#include "support/recursion.hpp"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <string>

namespace growstack::soak {
namespace {

constexpr int good = 7;
constexpr unsigned patience = testing::sanitized ? 90 : 60;  // seconds

int end_of(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) {
      wrong("waitpid: %d", errno);
    }
  }
  return status;
}

/// Forks while nobody else is about to change what is shared, so that the child finds all of it
/// whole.
pid_t fork_in_order() {
  const std::scoped_lock lock(world->territory.mutex, world->fibers.mutex, world->stacks.mutex,
                              world->pools.mutex, world->allocators.mutex, world->mappings.mutex,
                              world->visits.mutex);
  const pid_t child = fork();
  if (child < 0) {
    wrong("fork: %d", errno);
  }
  if (child == 0) {
    become_child();
    alarm(patience);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
  }
  return child;
}

/// All fibers that were parked are whole, and go on in the child.
void go_on_with_fibers(Worker& worker) {
  for (const auto& fiber : world->fibers.things) {
    fiber->verify();
  }
  for (int count = 0; count < 3; ++count) {
    if (auto fiber = world->fibers.take(worker.random)) {
      (*fiber)->resume(worker);
      if (!(*fiber)->has_ended()) {
        (*fiber)->verify();
        (*fiber)->end(worker);
      }
    }
  }
}

/// Lives on in the child: deeper on the stack that forked, on stacks of its own, and in fibers.
[[noreturn]] void live_in_child(Worker& worker) {
  worker.nesting = 100;  // no children of the child's own
  if (const Tenant* const tenant = worker.tenant) {
    tenant->verify_all();
  }
  use_running_stack(worker);
  for (int count = 0; count < 2; ++count) {
    call(some_options(worker.random), [&] { use_running_stack(worker); });
    Stack stack(some_options(worker.random));
    call(stack, [&] { use_running_stack(worker); });
  }
  {
    StackPool pool(some_pool_options(worker.random));
    Stack stack = pool.acquire();
    call(stack, [&] { use_running_stack(worker); });
  }
  go_on_with_fibers(worker);
  _exit(good);
}

}  // namespace

void fork_a_child(Worker& worker) {
  worker.note("forks");
  const pid_t child = fork_in_order();
  if (child == 0) {
    live_in_child(worker);
  }
  worker.note("waits for child", static_cast<std::size_t>(child));
  if (const int status = end_of(child); !WIFEXITED(status) || WEXITSTATUS(status) != good) {
    wrong("a forked child ended with status %#x", static_cast<unsigned>(status));
  }
  counts.forks.fetch_add(1, std::memory_order_relaxed);
}

namespace {

/// Returns the status with which a vfork child ends that goes down on this stack.
[[gnu::noinline]] int vfork_and_go_down(Worker& worker) {
  const pid_t child = vfork();
  if (child == 0) {
    use_running_stack(worker);
    _exit(good);
  }
  return end_of(child);
}

}  // namespace

void vfork_a_child(Worker& worker) {
  worker.note("vforks");
  const int nesting = worker.nesting;
  worker.nesting = 100;  // the child does nothing but go down
  const int status = vfork_and_go_down(worker);
  worker.nesting = nesting;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != good) {
    wrong("a vfork child ended with status %#x", static_cast<unsigned>(status));
  }
  use_running_stack(worker);
  counts.vforks.fetch_add(1, std::memory_order_relaxed);
}

namespace {

// Not constant, because a compiler warns of a function that never returns.
volatile bool always = true;

[[gnu::noinline]] std::size_t run_away(std::size_t depth) {
  volatile char room[256];
  testing::keep(room);
  return always ? run_away(depth + 1) + static_cast<std::size_t>(room[0]) : depth;
}

[[noreturn]] void overflow_a_stack(const StackOptions& options, int messages) {
  dup2(messages, STDERR_FILENO);
  call(options, [] { return run_away(0); });
  _exit(1);
}

std::string content_of(int file) {
  std::array<char, 4096> text{};
  const ssize_t bytes = pread(file, text.data(), text.size(), 0);
  return {text.data(), bytes > 0 ? static_cast<std::size_t>(bytes) : 0};
}

}  // namespace

void overflow_in_a_child(Worker& worker) {
  StackOptions options = some_options(worker.random);
  if (options.strategy == Strategy::heap) {
    return;  // it has no guard
  }
  options.reserve = 384 * testing::KiB;
  options.name = "doomed";
  const int messages = memfd_create("report", MFD_CLOEXEC);
  worker.note("overflows in a child, by strategy", static_cast<std::size_t>(options.strategy));
  const pid_t child = fork_in_order();
  if (child == 0) {
    overflow_a_stack(options, messages);
  }
  const int status = end_of(child);
  const std::string report = content_of(messages);
  close(messages);
  const int by = describe(options.strategy)->event == GrowthEvent::bus_error ? SIGBUS : SIGSEGV;
  if (!WIFSIGNALED(status) || (WTERMSIG(status) != SIGSEGV && WTERMSIG(status) != by) ||
      report.find("stack overflow") == std::string::npos ||
      report.find("\"doomed\"") == std::string::npos) {
    wrong("an overflow of strategy %d ended with status %#x and this report: %s",
          static_cast<int>(options.strategy), static_cast<unsigned>(status), report.c_str());
  }
  counts.overflows.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace growstack::soak
