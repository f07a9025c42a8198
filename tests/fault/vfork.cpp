// Children that share the memory of their parent: vfork(2), and clone(2) with CLONE_VM. Such a
// child has another process id and descriptors of its own. What it leaves behind when it is killed
// stays in its parent's memory.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/report.hpp>

#include "anywhere/fork_wiped.hpp"
#include "support/each_strategy.hpp"
#include "support/machine/machine.hpp"
#include "support/one_slot.hpp"
#include "support/recursion.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <linux/close_range.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <thread>

using namespace growstack;
using namespace growstack::testing;

namespace {

constexpr std::size_t frames = 8'000;  // some 2 MiB

/// Returns the status (wait(2)) with which a vfork child ends that runs body(), and then exits with
/// what that returns.
template <class Body>
[[gnu::noinline]] int vfork_and(const Body& body) {
  const pid_t child = vfork();
  if (child == 0) {
    _exit(body());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

bool exited_with_7(int status) { return WIFEXITED(status) && WEXITSTATUS(status) == 7; }

/// Goes deep in a vfork child, which may close all its descriptors before, and then as deep in the
/// parent.
bool both_go_deep(bool closes) {
  const int status = vfork_and([&] {
    if (closes) {
      syscall(SYS_close_range, 3, ~0U, 0);
    }
    return recurse(frames) == frames ? 7 : 1;
  });
  return exited_with_7(status) && recurse(2 * frames) == 2 * frames;
}

StackOptions options_for(Strategy strategy) {
  return {.reserve = 8 * MiB, .strategy = strategy, .name = "shared"};
}

/// Runs body() on a Stack, in a Thread, and on a pooled stack; twice, so that what the first child
/// left would show.
bool on_each(Strategy strategy, const std::function<bool()>& body) {
  bool good = true;
  for (int round = 0; round < 2; ++round) {
    {
      Stack stack(options_for(strategy));
      good = call(stack, body) && !(stack.trim() && describe(strategy)->trims) && good;
    }
    {
      Thread thread(options_for(strategy), [&] { good = body() && good; });
      thread.join();
    }
    if (describe(strategy)->pools()) {
      StackPool pool({.reserve = 8 * MiB, .strategy = strategy});
      Stack stack = pool.acquire();
      good = call(stack, body) && good;
    }
  }
  return good;
}

}  // namespace

EVERY_STRATEGY("a vfork child goes deep on its parent's stack, and so does the parent afterwards") {
  CHECK(on_each(Of::strategy, [] { return both_go_deep(false); }));
}

EVERY_STRATEGY("a vfork child that closes its descriptors, as before exec, goes deep as well") {
  CHECK(on_each(Of::strategy, [] { return both_go_deep(true); }));
}

namespace {

/// clone(2) with CLONE_VM and without CLONE_VFORK: parent and child run at the same time.
bool a_clone_goes_deep(Strategy strategy) {
  Stack on(options_for(strategy));
  const int child = clone(
      [](void*) {
        // A clone has no alternate stack.
        return handler::attach_thread() == 0 && recurse(frames) == frames ? 7 : 1;
      },
      on.base(), CLONE_VM | SIGCHLD, nullptr);
  int status = 0;
  waitpid(child, &status, 0);
  return exited_with_7(status) && call(on, [] { return recurse(2 * frames); }) == 2 * frames;
}

}  // namespace

STRATEGIES_WHERE(traits.growth_events, "a child of clone(2) with CLONE_VM goes deep on a stack") {
  CHECK(a_clone_goes_deep(Of::strategy));
}

// ---- what a child leaves behind -----------------------------------------------------------------

namespace {

std::atomic<pid_t> committed_by{0};
bool child_dies_in_commit = false;

int commit(const handler::Range&, const handler::SlotRecord&, handler::Step step) noexcept {
  committed_by = getpid();
  if (child_dies_in_commit) {
    raise(SIGKILL);
  }
  return make_writable(step);
}

constexpr handler::Operations operations{
    .plan = to_the_limit, .commit = commit, .on_overflow = handler::report_overflow};

constexpr handler::Committer committers[]{handler::Committer::handler, handler::Committer::helper};

}  // namespace

TEST_CASE("a vfork child asks nobody in its parent to commit") {
  for (const handler::Committer committer : committers) {
    const OneSlot slot(operations, committer, 16);
    pid_t child = 0;
    slot.run([&] {
      vfork_and([&] {
        child = getpid();
        return recurse(1000) == 1000 ? 7 : 1;
      });
    });
    CHECK(committed_by == child);
    CHECK(slot.pins() == 0);
  }
}

TEST_CASE("a vfork child that is killed in the middle of a fault leaves no pin") {
  for (const handler::Committer committer : committers) {
    const OneSlot slot(operations, committer, 16);
    int status = 0;
    child_dies_in_commit = true;
    slot.run([&] { status = vfork_and([] { return static_cast<int>(recurse(1000)); }); });
    child_dies_in_commit = false;
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGKILL);
    CHECK(slot.pins() == 0);
    alarm(20);  // a hang must not outlive the test
    slot.retire();
    alarm(0);
  }
}

GROWSTACK_SCENARIO("a vfork child overflows") {
  no_core();
  Stack stack({.reserve = MiB, .name = "shared"});
  const int status =
      call(stack, [] { return vfork_and([] { return static_cast<int>(recurse(deep)); }); });
  // The parent is as it was.
  const bool works = call(stack, [] { return recurse(1000); }) == 1000;
  std::printf("%d %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0, works ? 1 : 0);
  std::fflush(stdout);
  call(stack, [] { recurse(deep); });
  return 0;
}

TEST_CASE("a vfork child that overflows dies alone, with a report, and so does its parent later") {
  const Ended ended = run_scenario("a vfork child overflows");
  CHECK(ended.out == std::to_string(SIGSEGV) + " 1\n");
  CHECK(ended.signal == SIGSEGV);
  const std::size_t first = ended.err.find("trace of the stack");
  CHECK(first != std::string::npos);
  CHECK(ended.err.find("trace of the stack", first + 1) != std::string::npos);
}

namespace {

// Not constant, because a compiler warns of a recursion that has no end.
volatile bool has_no_end = true;

[[gnu::noinline]] int the_parent_overflows(int depth) {
  volatile char room[192];
  keep(room);
  room[0] = static_cast<char>(depth);
  return has_no_end ? the_parent_overflows(depth + 1) + room[0] : depth;
}

}  // namespace

GROWSTACK_SCENARIO("a vfork child is killed while it reports") {
  no_core();
  alarm(60);  // a child that does not report must not hang the test
  Stack childs({.reserve = MiB, .name = "child's"});
  Stack parents({.reserve = MiB, .name = "parent's"});
  std::thread([] {
    std::atomic<std::uint32_t>& reporter = handler::fork_wiped()->reporter;
    while (reporter == 0) {
    }
    kill(static_cast<pid_t>(reporter.load()), SIGKILL);
  }).detach();
  call(childs, [] {
    if (vfork() == 0) {
      recurse(deep);
      _exit(1);
    }
  });
  call(parents, the_parent_overflows, 0);  // before it has waited for the child
  return 0;
}

TEST_CASE("a vfork child that is killed while it reports does not keep its parent from a trace") {
  const Ended ended = run_scenario("a vfork child is killed while it reports");
  CHECK(ended.signal == SIGSEGV);
  CHECK(contains(ended.err, "stack \"parent's\""));
  CHECK(contains(ended.err, "the_parent_overflows(int)"));
}

GROWSTACK_SCENARIO("a vfork child spends a one-shot handler") {
  struct sigaction theirs {};
  theirs.sa_handler = [](int) { _exit(7); };
  theirs.sa_flags = static_cast<int>(SA_RESETHAND) | SA_ONSTACK;
  sigaction(SIGSEGV, &theirs, nullptr);
  Stack stack(options_for(Strategy::in_handler));
  const auto crash = [] {
    *reinterpret_cast<volatile char*>(machine::bad_address) = 1;
    return 1;
  };
  const bool child_was_handled = exited_with_7(vfork_and(crash));
  return child_was_handled ? crash() : 2;
}

TEST_CASE("a one-shot handler (SA_RESETHAND) that a vfork child has used is still there") {
  CHECK(run_scenario("a vfork child spends a one-shot handler").exit_code == 7);
}
