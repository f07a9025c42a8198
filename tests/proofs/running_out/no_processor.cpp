// Threads that get no processor: the helper, the monitor, or all of the process.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "proofs/running_out/control_group.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/limits.hpp"
#include "support/scenario.hpp"

#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <string>
#include <thread>

using namespace growstack::testing;
using namespace std::chrono_literals;
using growstack::call;
using growstack::Stack;
using growstack::StackOptions;

namespace {

StackOptions options_of(const Traits& of) { return {.reserve = 4 * MiB, .strategy = of.strategy}; }

/// Uses a stack, so that whatever threads it needs have started.
void use_once(const Traits& of) {
  raise_soft_limit(RLIMIT_MEMLOCK);
  Stack stack(options_of(of));
  require(call(stack, [] { return descend(3 * MiB); }) == 0, "a stack works");
}

void use_again(const Traits& of, int times) {
  for (int time = 0; time < times; ++time) {
    use_once(of);
  }
}

// ---- frozen service threads ---------------------------------------------------------------------

/// Freezes every thread but the calling one.
void freeze_others(const ControlGroup& group) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    const int thread = std::stoi(entry.path().filename());
    require(thread == gettid() || group.take_thread(thread), "a thread can be taken");
  }
  require(group.write("freezer.state", "FROZEN"), "threads can be frozen");
}

void thaw(const ControlGroup& group) {
  require(group.write("freezer.state", "THAWED"), "threads can thaw");
}

/// In a child, because a thread of this process would be frozen as well.
void thaw_in_a_second(const ControlGroup& group) {
  if (fork() == 0) {
    std::this_thread::sleep_for(1s);
    thaw(group);
    _exit(0);
  }
}

int frozen_service_threads(const Traits& of) {
  const ControlGroup group = ControlGroup::from_environment();
  const bool waits_for_monitor = of.growth_events && of.grows_by == 0;
  use_once(of);
  if (waits_for_monitor) {
    thaw_in_a_second(group);
  }
  freeze_others(group);
  use_once(of);
  if (!waits_for_monitor) {
    thaw(group);
  }
  use_again(of, 3);
  return 7;
}
const ScenarioOfEach<frozen_service_threads> frozen_scenarios("frozen service threads");

// ---- a process that is stopped ------------------------------------------------------------------

/// Ends at SIGTERM, but not while the other process is stopped.
[[noreturn]] void stop_and_continue(pid_t other) {
  sigset_t end;
  sigemptyset(&end);
  sigaddset(&end, SIGTERM);
  sigprocmask(SIG_BLOCK, &end, nullptr);
  for (;;) {
    kill(other, SIGSTOP);
    std::this_thread::sleep_for(2ms);
    kill(other, SIGCONT);
    constexpr timespec pause{.tv_sec = 0, .tv_nsec = 3'000'000};
    if (sigtimedwait(&end, nullptr, &pause) == SIGTERM || getppid() != other) {
      _exit(0);
    }
  }
}

/// A child that stops this process again and again, and lets it go on.
class Stopper {
 public:
  Stopper() : child_(fork()) {
    if (child_ == 0) {
      stop_and_continue(getppid());
    }
  }
  ~Stopper() {
    kill(child_, SIGTERM);
    waitpid(child_, nullptr, 0);
  }
  Stopper(const Stopper&) = delete;
  Stopper& operator=(const Stopper&) = delete;

 private:
  pid_t child_;
};

std::atomic<int> continued{0};

int stopped(const Traits& of) {
  struct sigaction action {};
  action.sa_handler = [](int) { ++continued; };
  action.sa_flags = SA_ONSTACK | SA_RESTART;
  sigaction(SIGCONT, &action, nullptr);
  use_once(of);
  {
    const Stopper stopper;
    const auto end = std::chrono::steady_clock::now() + 500ms;
    while (std::chrono::steady_clock::now() < end || continued < 20) {
      use_once(of);
    }
  }
  std::printf("continued %d times\n", continued.load());
  return 7;
}
const ScenarioOfEach<stopped> stopped_scenarios("stopped");

// ---- real-time threads --------------------------------------------------------------------------

void become_real_time(int priority) {
  const sched_param parameters{.sched_priority = priority};
  require(sched_setscheduler(0, SCHED_FIFO, &parameters) == 0, "a thread can be a real-time one");
}

/// Runs on the only processor that the process may use, and leaves it to nobody for half a second,
/// while this thread, which is more important, makes stacks grow.
int real_time(const Traits& of) {
  use_once(of);
  std::atomic<bool> runs{false};
  std::jthread hog([&] {
    become_real_time(1);
    const auto end = std::chrono::steady_clock::now() + 500ms;
    while (std::chrono::steady_clock::now() < end) {
      runs = true;
    }
  });
  while (!runs) {
    std::this_thread::yield();
  }
  become_real_time(2);
  use_again(of, 2);
  return 7;
}
const ScenarioOfEach<real_time> real_time_scenarios("real time");

// ---- no more processor time ---------------------------------------------------------------------

std::atomic<int> times_up{0};

/// Goes on after the signal that its time is up, which comes while its stacks grow.
int time_is_up(const Traits& of) {
  struct sigaction action {};
  action.sa_handler = [](int) { ++times_up; };
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGXCPU, &action, nullptr);
  use_once(of);
  require(set_soft_limit(RLIMIT_CPU, 1), "processor time can be limited");
  Stack stack(options_of(of));
  while (times_up == 0) {
    require(call(stack, [] { return descend(3 * MiB); }) == 0, "the stack works");
    static_cast<void>(stack.trim());
  }
  require(call(stack, [] { return descend(3 * MiB); }) == 0, "the stack works after the signal");
  return 7;
}
const ScenarioOfEach<time_is_up> time_is_up_scenarios("time is up");

void check_works(const Ended& ended) {
  CAPTURE(ended.err);
  CHECK_FALSE(ended.timed_out);
  CHECK(ended.exit_code == 7);
  std::printf("OUTCOME: works\n");
}

}  // namespace

EVERY_STRATEGY(
    "a stack grows although no thread of ours gets a processor, at the latest when one does") {
  const auto group = ControlGroup::make("freezer");
  if (!group || !group->is_version_1()) {
    return skip("only version 1 of control groups freezes a single thread: " +
                ControlGroup::why_none());
  }
  group->to_environment();
  check_works(run_scenario_of("frozen service threads", Of::traits));
  group->remove();
}

EVERY_STRATEGY("a process that is stopped again and again while its stacks grow loses nothing") {
  check_works(run_scenario_of("stopped", Of::traits));
}

EVERY_STRATEGY(
    "a real-time thread that keeps the only processor busy delays growth and hangs none") {
  if (geteuid() != 0) {
    return skip("only root may have real-time threads");
  }
  const std::string scenario = "--scenario=real time " + std::string(Of::traits.name);
  check_works(run_program(
      {"taskset", "-c", "0", std::filesystem::read_symlink("/proc/self/exe"), scenario}));
}

EVERY_STRATEGY("a stack goes on after SIGXCPU says that RLIMIT_CPU is reached") {
  check_works(run_scenario_of("time is up", Of::traits));
}
