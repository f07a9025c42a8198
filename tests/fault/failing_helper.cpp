// A helper that fails a fault: it refuses, hangs, or dies. The faulting thread then commits by
// itself, and nothing is left behind.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/classify.hpp>
#include <growstack/handler/handler.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/handler/ranges.hpp>

#include "anywhere/fork_wiped.hpp"
#include "fault/request.hpp"
#include "support/forked.hpp"
#include "support/one_slot.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/supervised.hpp"
#include "support/system_call_filter.hpp"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <thread>

using namespace growstack::handler;
using namespace growstack::testing;

namespace {

enum class HelperDoes { its_work, refuse, wait, commit_and_wait, wait_and_die, die };

/// What the helper shall do with the next request, and what it did.
std::atomic<HelperDoes> wanted{HelperDoes::its_work};
std::atomic<int> helper_id{0};
std::atomic<bool> helper_waits{false};
std::atomic<bool> helper_may_go_on{false};

bool runs_in_helper() noexcept {
  char name[16] = "";
  pthread_getname_np(pthread_self(), name, sizeof name);
  return std::string_view(name) == "stack-helper";
}

int commit_as_wanted(const Range&, const SlotRecord&, Step step) noexcept {
  if (!runs_in_helper()) {
    return make_writable(step);
  }
  helper_id = static_cast<int>(syscall(SYS_gettid));
  switch (wanted.load()) {
    case HelperDoes::its_work:
      break;
    case HelperDoes::refuse:
      return ENOMEM;
    case HelperDoes::wait:
      helper_waits = true;
      helper_may_go_on.wait(false);
      break;
    case HelperDoes::commit_and_wait: {
      const int error = make_writable(step);
      helper_may_go_on.wait(false);
      return error;
    }
    case HelperDoes::wait_and_die:
      helper_may_go_on.wait(false);
      [[fallthrough]];
    case HelperDoes::die:
      syscall(SYS_exit, 0);
  }
  return make_writable(step);
}

constexpr Operations operations{.plan = to_the_limit,
                                .commit = commit_as_wanted,
                                .on_overflow = [](const SlotRecord&, const Fault&, void*,
                                                  int) noexcept { return Disposition::forward; }};

bool exists(int thread) { return syscall(SYS_tgkill, getpid(), thread, 0) == 0; }

/// Touches the slot, and returns whether the helper committed.
bool helper_serves(const OneSlot& slot) {
  const std::uint64_t before = counters().by_helper;
  slot.touch(3);
  return counters().by_helper > before;
}

int processors_of_helper() {
  cpu_set_t processors;
  CPU_ZERO(&processors);
  sched_getaffinity(helper_id, sizeof processors, &processors);
  return CPU_COUNT(&processors);
}

}  // namespace

GROWSTACK_SCENARIO("the helper refuses") {
  const OneSlot slot(operations, Committer::helper);
  wanted = HelperDoes::refuse;
  const bool refused = !helper_serves(slot) && slot.pins() == 0;
  wanted = HelperDoes::its_work;
  return refused && helper_serves(slot) && slot.pins() == 0 ? 7 : 1;
}

TEST_CASE("what the helper is refused, the faulting thread tries itself") {
  CHECK(run_scenario("the helper refuses").exit_code == 7);
}

GROWSTACK_SCENARIO("the helper hangs after its claim") {
  const OneSlot slot(operations, Committer::helper);
  wanted = HelperDoes::wait;
  const std::uintptr_t before = slot.limit();
  const bool served = helper_serves(slot);
  const bool is_left = helper_waits && fork_wiped()->requests_left == 1;
  if (served || slot.limit() != before - 3 * page_size() || !is_left) {
    return 1;
  }
  // The slot cannot be retired while the helper may still commit.
  std::atomic<bool> is_retired{false};
  std::thread owner([&] {
    slot.retire();
    is_retired = true;
  });
  usleep(50'000);
  const bool waits = !is_retired;
  helper_may_go_on = true;
  helper_may_go_on.notify_all();
  owner.join();
  return waits && fork_wiped()->requests_left == 0 && slot.pins() == 0 ? 7 : 2;
}

TEST_CASE(
    "a helper that hangs after its claim delays a fault and does not hang it, "
    "and the slot stays until the helper has let go") {
  CHECK(run_scenario("the helper hangs after its claim").exit_code == 7);
}

GROWSTACK_SCENARIO("the helper hangs, then goes on") {
  if (std::thread::hardware_concurrency() < 2) {
    return 8;
  }
  const OneSlot slot(operations, Committer::helper);
  wanted = HelperDoes::wait;
  static_cast<void>(helper_serves(slot));  // gives up on the helper where it was brought
  static_cast<void>(helper_serves(slot));  // gives up on it wherever it is
  const bool was_let_go = processors_of_helper() > 1;
  wanted = HelperDoes::its_work;
  helper_may_go_on = true;
  helper_may_go_on.notify_all();
  usleep(50'000);
  return was_let_go && helper_serves(slot) && processors_of_helper() == 1 && slot.pins() == 0 ? 7
                                                                                              : 1;
}

TEST_CASE(
    "a helper that gave no answer from any processor is brought to the faulting thread again") {
  const Ended ended = run_scenario("the helper hangs, then goes on");
  if (ended.exit_code == 8) {
    return skip("needs two processors");
  }
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("the helper hangs after its claim, then dies") {
  const OneSlot slot(operations, Committer::helper);
  wanted = HelperDoes::wait_and_die;
  static_cast<void>(helper_serves(slot));
  const bool is_left = fork_wiped()->requests_left == 1;
  helper_may_go_on = true;
  helper_may_go_on.notify_all();
  alarm(20);  // a hang must not outlive the test
  slot.retire();
  return is_left && fork_wiped()->requests_left == 0 ? 7 : 1;
}

TEST_CASE("a helper that dies with a request that was left to it does not keep the slot for ever") {
  CHECK(run_scenario("the helper hangs after its claim, then dies").exit_code == 7);
}

GROWSTACK_SCENARIO("the helper goes on after a trim") {
  const OneSlot slot(operations, Committer::helper);
  const std::uintptr_t before = slot.limit();
  wanted = HelperDoes::commit_and_wait;
  const bool served = helper_serves(slot);
  const bool is_left = fork_wiped()->requests_left == 1;
  // As the owner of the stack trims it.
  slot.slot().limit = before;
  void* const trimmed = reinterpret_cast<void*>(before - 3 * page_size());
  require(mprotect(trimmed, 3 * page_size(), PROT_NONE) == 0, "mprotect");
  wanted = HelperDoes::its_work;
  helper_may_go_on = true;
  helper_may_go_on.notify_all();
  alarm(20);  // a hang must not outlive the test
  while (fork_wiped()->requests_left != 0) {
    usleep(1000);
  }
  const bool stays = slot.limit() == before;
  return !served && is_left && stays && helper_serves(slot) ? 7 : 1;
}

TEST_CASE("a helper that comes late does not claim memory that a trim has taken away meanwhile") {
  CHECK(run_scenario("the helper goes on after a trim").exit_code == 7);
}

GROWSTACK_SCENARIO("another helper starts while a thread waits for a dead one") {
  const OneSlot slot(operations, Committer::helper);
  const OneSlot other(operations, Committer::helper);
  wanted = HelperDoes::die;
  std::thread first([&] {
    require(attach_thread() == 0, "attach");
    slot.touch(3);
  });
  usleep(20'000);  // its request is claimed by a helper that has died since
  other.touch(3);  // finds nobody at the end of the pipe
  wanted = HelperDoes::its_work;
  const bool started = start_helper() == 0;
  first.join();
  alarm(20);
  slot.retire();
  return started && helper_serves(other) && fork_wiped()->requests_left == 0 ? 7 : 1;
}

TEST_CASE("a thread that waits for a dead helper is not fooled by the next one") {
  CHECK(run_scenario("another helper starts while a thread waits for a dead one").exit_code == 7);
}

GROWSTACK_SCENARIO("the helper dies after its claim") {
  const OneSlot slot(operations, Committer::helper);
  wanted = HelperDoes::die;
  const std::uintptr_t before = slot.limit();
  const bool served = helper_serves(slot);
  wanted = HelperDoes::its_work;
  const bool is_dead = !exists(helper_id);
  const bool grew = slot.limit() == before - 3 * page_size() && !helper_serves(slot);
  const bool unpinned = slot.pins() == 0;
  return !served && is_dead && grew && unpinned && start_helper() == 0 && helper_serves(slot) ? 7
                                                                                              : 1;
}

TEST_CASE("a helper that dies after its claim leaves no pin, and another one can be started") {
  CHECK(run_scenario("the helper dies after its claim").exit_code == 7);
}

GROWSTACK_SCENARIO("the C library's threads after a helper died") {
  const OneSlot slot(operations, Committer::helper);
  wanted = HelperDoes::die;
  static_cast<void>(helper_serves(slot));
  wanted = HelperDoes::its_work;
  require(start_helper() == 0, "another helper");
  alarm(20);
  return setgid(getgid()) == 0 && helper_serves(slot) ? 7 : 1;  // it tells every thread
}

TEST_CASE("a helper that died does not stay among the threads that the C library counts") {
  CHECK(run_scenario("the C library's threads after a helper died").exit_code == 7);
}

GROWSTACK_SCENARIO("helpers that are left alone end later") {
  alarm(60);
  const OneSlot slot(operations, Committer::helper);
  const std::size_t mappings = mapping_count();
  const std::size_t threads = thread_count();
  for (int times = 0; times < 30; ++times) {
    const int write_end = dup(request_pipe.number());
    request_pipe.close();
    require(start_helper() == 0 && thread_count() > threads, "the helper before it stays");
    close(write_end);
    require(threads_come_down_to(threads), "the helper before it ends");
  }
  return mapping_count() < mappings + 10 ? 7 : 1;
}

TEST_CASE("the stack of a helper that ended after it was left alone is given back") {
  if (sanitized) {
    return skip("a sanitizer has memory of its own");
  }
  CHECK(run_scenario("helpers that are left alone end later").exit_code == 7);
}

GROWSTACK_SCENARIO("the C library's threads after a helper died that was left alone") {
  alarm(20);
  {
    const OneSlot slot(operations, Committer::helper);
    wanted = HelperDoes::wait_and_die;
    static_cast<void>(helper_serves(slot));
    // The program closes its pipe, and the next helper takes its place.
    request_pipe.close();
    require(start_helper() == 0 && exists(helper_id), "the first helper is left alone");
    helper_may_go_on = true;
    helper_may_go_on.notify_all();
    while (exists(helper_id)) {
      usleep(1000);
    }
    wanted = HelperDoes::its_work;
    request_pipe.close();
    require(start_helper() == 0 && helper_serves(slot), "the third one");
  }
  return uninstall() == 0 ? 7 : 1;
}

TEST_CASE(
    "the stack of a helper that died after it was left alone stays, because the C library counts "
    "it among its threads") {
  CHECK(run_scenario("the C library's threads after a helper died that was left alone").exit_code ==
        7);
}

namespace {

/// Ends the helper, and has faults believe that it runs, as if it had been killed between two
/// requests.
void kill_the_helper(const OneSlot& slot) {
  require(helper_serves(slot), "a helper");
  ForkWiped& shared = *fork_wiped();
  require(send(Request{}) == 0, "send");
  while (shared.helper_runs != 0 || exists(helper_id)) {
    usleep(1000);
  }
  shared.helper_runs = shared.helper_id.load();
}

sigset_t only(int signal) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  return set;
}

bool is_pending(int signal) {
  sigset_t set;
  sigpending(&set);
  return sigismember(&set, signal) == 1;
}

}  // namespace

GROWSTACK_SCENARIO("the helper was killed") {
  const OneSlot slot(operations, Committer::helper);
  kill_the_helper(slot);
  const bool served = helper_serves(slot);
  const bool forgotten = fork_wiped()->helper_runs == 0;
  return !served && forgotten && !is_pending(SIGPIPE) && slot.pins() == 0 ? 7 : 1;
}

TEST_CASE("the first fault that finds nobody at the end of the pipe is the last that looks") {
  CHECK(run_scenario("the helper was killed").exit_code == 7);
}

GROWSTACK_SCENARIO("uninstalled after the helper was killed") {
  {
    const OneSlot slot(operations, Committer::helper);
    kill_the_helper(slot);
  }
  return uninstall() == 0 ? 7 : 1;  // SIGPIPE would kill
}

TEST_CASE("uninstall survives a helper that was killed") {
  CHECK(run_scenario("uninstalled after the helper was killed").exit_code == 7);
}

GROWSTACK_SCENARIO("the helper ends while it is asked to end") {
  alarm(20);
  {
    const OneSlot slot(operations, Committer::helper);
    require(helper_serves(slot), "a helper");
  }
  int error = EPERM;
  supervise(
      {{.number = SYS_write, .argument = static_cast<std::uint32_t>(request_pipe.number())}},
      [](const seccomp_data&) {
        require(send(Request{}) == 0, "send");
        while (exists(helper_id)) {
          usleep(1000);
        }
        return Answer{};
      },
      [&] { error = uninstall(); });
  return error == 0 ? 7 : 1;
}

TEST_CASE("uninstall survives a helper that ends right before it is asked to") {
  const Ended ended = run_scenario("the helper ends while it is asked to end");
  if (ended.exit_code == no_filters) {
    return skip("seccomp filters are not available");
  }
  CHECK(ended.signal == 0);
  CHECK(ended.exit_code == 7);
}

GROWSTACK_SCENARIO("a SIGPIPE of the program's is pending") {
  const OneSlot slot(operations, Committer::helper);
  kill_the_helper(slot);
  const sigset_t broken_pipe = only(SIGPIPE);
  sigprocmask(SIG_BLOCK, &broken_pipe, nullptr);
  raise(SIGPIPE);
  static_cast<void>(helper_serves(slot));
  return is_pending(SIGPIPE) ? 7 : 1;
}

TEST_CASE("a SIGPIPE that was pending before a fault still is after it") {
  CHECK(run_scenario("a SIGPIPE of the program's is pending").exit_code == 7);
}

// ---- filters that end a thread ------------------------------------------------------------------

namespace {

/// Makes the first stack of a process in which a filter ends the thread that makes a system call.
/// Returns 7 if it is there, or if not, says why; and if the process can then clean up, and fork.
int make_stack_where_threads_end(growstack::Strategy strategy, long system_call) {
  no_core();
  SystemCallFilter filter;
  filter.add(SCMP_ACT_KILL_THREAD, system_call);
  filter.install();
  const std::string message =
      error_of([&] { const growstack::Stack stack({.strategy = strategy}); });
  const bool says_why = message.empty() || message.starts_with("growstack: ");
  const int child = end_of_child([] { return 7; });
  return says_why && child == 7 && uninstall() == 0 ? 7 : 1;
}

}  // namespace

GROWSTACK_SCENARIO("a filter ends threads") {
  using enum growstack::Strategy;
  bool good = true;
  for (const growstack::Strategy strategy :
       {pipe_helper, in_handler, userfault, userfault_signal}) {
    for (const long system_call : {SYS_close_range, SYS_sched_setaffinity, SYS_sched_getscheduler,
                                   SYS_sched_setattr, SYS_sched_getattr}) {
      const int end =
          end_of_child([&] { return make_stack_where_threads_end(strategy, system_call); });
      if (end == no_filters) {
        return no_filters;
      }
      if (end != 7) {
        good = false;
        std::printf("%s, system call %ld: %d\n", name(strategy).data(), system_call, end);
      }
    }
  }
  return good ? 7 : 1;
}

TEST_CASE(
    "if a filter ends a new thread of ours, the first stack is made without it or says why not, "
    "and nothing hangs") {
  const Ended ended = run_scenario("a filter ends threads", std::chrono::minutes(10));
  if (ended.exit_code == no_filters) {
    return skip("seccomp filters are not available");
  }
  CAPTURE(ended.out);
  CHECK(ended.exit_code == 7);
}
