// What a container has of memory, threads and processors: control groups that are used up.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "proofs/running_out/control_group.hpp"
#include "proofs/running_out/shortage.hpp"
#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/limits.hpp"
#include "support/scenario.hpp"

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <functional>
#include <string>
#include <thread>

using namespace growstack::testing;
using growstack::call;
using growstack::Stack;

namespace {

/// Runs body(group) with a group of a controller, or skips the test.
void with_group(const std::string& controller, const std::function<void(ControlGroup&)>& body) {
  auto group = ControlGroup::make(controller);
  if (!group) {
    return skip(ControlGroup::why_none());
  }
  group->to_environment();
  body(*group);
  group->remove();
}

// ---- threads ------------------------------------------------------------------------------------

void take_all_threads(const Traits&) {
  const ControlGroup group = ControlGroup::from_environment();
  require(group.write("pids.max", "1"), "the number of threads can be limited");
}

void give_threads_back() {
  require(ControlGroup::from_environment().write("pids.max", "max"), "the limit can be lifted");
}

const NamedShortage no_threads("pids.max",
                               {.begin = take_all_threads,
                                .end = give_threads_back,
                                .prepare = [] { ControlGroup::from_environment().enter(); },
                                .error = "EAGAIN: no more threads: .*pids.max of the control group "
                                         "is reached: raise it"});

// ---- processor time -----------------------------------------------------------------------------

bool allow_processor_time(const ControlGroup& group, int percent) {
  const std::string quota = percent == 100 ? "" : std::to_string(percent * 1000);
  return group.is_version_1() ? group.write("cpu.cfs_quota_us", quota.empty() ? "-1" : quota)
                              : group.write("cpu.max", (quota.empty() ? "max" : quota) + " 100000");
}

const NamedShortage little_time(
    "cpu quota", {.begin =
                      [](const Traits&) {
                        require(allow_processor_time(ControlGroup::from_environment(), 10),
                                "a quota can be set");
                      },
                  .end =
                      [] {
                        require(allow_processor_time(ControlGroup::from_environment(), 100),
                                "it can be lifted");
                      },
                  .prepare = [] { ControlGroup::from_environment().enter(); },
                  .error = "^$"});

// ---- memory -------------------------------------------------------------------------------------

constexpr std::size_t needed = 64 * MiB;

bool limit_memory(const ControlGroup& group, std::size_t bytes) {
  return group.write(group.is_version_1() ? "memory.limit_in_bytes" : "memory.max",
                     std::to_string(bytes));
}

/// Goes deeper than its group has memory for.
int uses_memory_up(const Traits& of) {
  no_core();
  raise_soft_limit(RLIMIT_MEMLOCK);
  raise_soft_limit(RLIMIT_STACK);
  ControlGroup::from_environment().enter();
  std::size_t wrong = 0;
  const std::string message = error_of([&] {
    Stack stack({.reserve = needed + MiB, .strategy = of.strategy, .name = "hungry"});
    wrong = call(stack, [] { return descend(needed); });
  });
  if (!message.empty()) {
    std::fprintf(stderr, "%s\n", message.c_str());
  }
  require(wrong == 0, "what was written is read");
  return message.empty() ? 7 : 9;
}
const ScenarioOfEach<uses_memory_up> uses_memory_up_scenarios("uses memory up");

void check_names_the_group(const Ended& ended) {
  CHECK(ended.err.starts_with("growstack: "));
  CHECK(matches(ended.err, "(ENOMEM|EAGAIN):.* control group"));
}

}  // namespace

EVERY_STRATEGY("when a control group has no thread left, a stack works or says what is missing") {
  with_group("pids", [](ControlGroup&) { check(no_threads, Of::traits); });
}

EVERY_STRATEGY("with a tenth of a processor for the process, stacks work") {
  with_group("cpu", [](ControlGroup&) { check(little_time, Of::traits); });
}

EVERY_STRATEGY(
    "when a control group has no memory left, the kernel kills without a word, or the stack says "
    "what is missing") {
  with_group("memory", [](ControlGroup& group) {
    REQUIRE(limit_memory(group, needed / 2));
    const Ended ended = run_scenario_of("uses memory up", Of::traits);
    CAPTURE(ended.err);
    CHECK_FALSE(ended.timed_out);
    if (ended.exit_code == 9 || ended.signal != SIGKILL) {
      check_names_the_group(ended);
      std::printf("OUTCOME: %s\n", ended.exit_code == 9 ? "error" : "report");
    } else {
      CHECK(ended.signal == SIGKILL);
      CHECK(ended.err == "");
      std::printf("OUTCOME: killed\n");
    }
    const Ended again = [&] {
      REQUIRE(limit_memory(group, 4 * needed));
      return run_scenario_of("uses memory up", Of::traits);
    }();
    CHECK(again.err == "");
    CHECK(again.exit_code == 7);
  });
}

EVERY_STRATEGY(
    "a thread that waits for memory of its control group goes on when there is some, and loses "
    "nothing") {
  with_group("memory", [](ControlGroup& group) {
    if (!group.is_version_1() || !group.write("memory.oom_control", "1")) {
      return skip("only version 1 of control groups can make a thread wait for memory");
    }
    REQUIRE(limit_memory(group, needed / 2));
    std::size_t waited = 0;
    std::jthread giver([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        if (std::stoul(group.read("memory.failcnt")) > 0) {
          ++waited;
          std::this_thread::sleep_for(std::chrono::milliseconds(300));
          static_cast<void>(limit_memory(group, 4 * needed));
        }
      }
    });
    const Ended ended = run_scenario_of("uses memory up", Of::traits, std::chrono::seconds(30));
    giver.request_stop();
    giver.join();
    CAPTURE(ended.err);
    CHECK_FALSE(ended.timed_out);
    if (ended.exit_code == 7) {
      CHECK(waited > 0);
      std::printf("OUTCOME: works\n");
    } else {
      check_names_the_group(ended);
      std::printf("OUTCOME: %s\n", ended.exit_code == 9 ? "error" : "report");
    }
  });
}
