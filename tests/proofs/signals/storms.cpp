// Signals at any moment of growth: each one arrives once, or is counted as lost.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "descent.hpp"
#include "places.hpp"
#include "storm.hpp"
#include "support/alternate_stack.hpp"
#include "support/each_strategy.hpp"
#include "support/scenario.hpp"

#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

using namespace growstack;
using namespace growstack::testing;

namespace {

/// How many signals timers send for each strategy. All places together.
std::uint64_t signals_of_a_strategy() {
  const char* const asked = std::getenv("GROWSTACK_PROOF_SIGNALS");
  return asked != nullptr ? std::strtoull(asked, nullptr, 10) : 100'000;
}

/// So long, however busy the machine is.
const std::chrono::seconds patience(std::max<std::uint64_t>(100, signals_of_a_strategy() / 1000));

/// Each page is a growth, and a trimmed stack has as little as can be.
constexpr GrowthPolicy from_one_page{
    .initial_commit = 4 * KiB, .factor = 1, .least_step = 4 * KiB, .headroom = 0};

std::atomic<std::size_t> damaged{0};

/// Lets the handler of a signal grow the stack that it interrupted.
void grow_in_handler(std::uintptr_t) { damaged += descend(6 * KiB); }

/// Where signals found the stack pointer: 16 bytes each, in the two pages above the limit.
std::array<std::atomic<std::uint32_t>, 512> found_at{};

void note_position(std::uintptr_t interrupted) {
  const auto bounds = stack_bounds(reinterpret_cast<void*>(interrupted));
  const std::uintptr_t limit = bounds ? address_of(bounds->limit) : 0;
  if (bounds && limit <= interrupted && interrupted - limit < 16 * found_at.size()) {
    ++found_at[(interrupted - limit) / 16];
  }
}

constexpr std::array kinds{
    SignalKind{"on the alternate stack", SA_ONSTACK | SA_RESTART, true, note_position},
    SignalKind{"on the alternate stack, nested", SA_ONSTACK | SA_NODEFER, false, nullptr},
    SignalKind{"on the stack", SA_RESTART, true, note_position},
    SignalKind{"on the stack, nested", SA_NODEFER, false, nullptr},
    SignalKind{"on the stack, which it grows", 0, true, grow_in_handler},
    SignalKind{"on the stack, which it grows, nested", SA_NODEFER, false, grow_in_handler},
};

/// A descent among signals, the last of which comes about when it ends.
class Descents {
 public:
  explicit Descents(Storm& storm) : storm_(storm) {}

  void send_some() {
    static constexpr std::array<long, 4> within{5'000, 20'000, 60'000, 150'000};  // ns
    storm_.set_timers(within[chance_() % within.size()]);
  }
  void go_down() {
    damaged += descend_in_steps(GROWSTACK_HERE - depth_by_chance(chance_), chance_);
  }
  /// Returns whether all signals have arrived or are lost.
  [[nodiscard]] bool end() { return storm_.wait(); }

 private:
  Storm& storm_;
  std::minstd_rand chance_{};
};

using Condition = std::function<bool()>;

bool descend_in_calls(const StackOptions& options, Storm& storm, const Condition& goes_on,
                      bool trims) {
  Stack stack(options);
  storm.aim_here();
  Descents descents(storm);
  bool all_are_here = true;
  while (all_are_here && goes_on()) {
    descents.send_some();
    call(stack, [&] { descents.go_down(); });
    all_are_here = (!trims || !stack.trim()) && descents.end();
  }
  return storm.aim_at_nobody() && all_are_here;
}

bool descend_in_threads(const StackOptions& options, Storm& storm, const Condition& goes_on,
                        bool trims) {
  std::atomic<bool> all_are_here = true;
  while (all_are_here && goes_on()) {
    Thread thread(options, [&] {
      storm.aim_here();
      Descents descents(storm);
      for (int each = 0; each < 64 && all_are_here; ++each) {
        descents.send_some();
        descents.go_down();
        all_are_here = (!trims || !Stack::trim_current()) && descents.end();
      }
      all_are_here = storm.aim_at_nobody() && all_are_here;
    });
    thread.join();
  }
  return all_are_here;
}

bool descend_on_pooled_stacks(const StackOptions& options, Storm& storm, const Condition& goes_on,
                              bool trims) {
  StackPool pool(
      {.reserve = options.reserve, .policy = options.policy, .strategy = options.strategy});
  storm.aim_here();
  Descents descents(storm);
  bool all_are_here = true;
  while (all_are_here && goes_on()) {
    descents.send_some();
    Stack stack = pool.acquire("storm");
    call(stack, [&] { descents.go_down(); });
    // Every other one goes back as it is, so that the pool trims it or keeps it warm.
    static bool trim_it = false;
    trim_it = !trim_it;
    all_are_here = !(trims && trim_it && stack.trim());
    stack = pool.acquire("another");
    all_are_here = descents.end() && all_are_here;
  }
  return storm.aim_at_nobody() && all_are_here;
}

/// Returns 7 if all signals arrived, 8 if some were lost where that may be.
int judge(const Traits& of, Place place, const Received& got, bool all_are_here) {
  const auto positions =
      std::count_if(found_at.begin(), found_at.end(), [](const auto& count) { return count != 0; });
  std::printf("%s, %s: %llu sent, %llu received, %llu lost, at %d positions of 512\n",
              of.name.data(), name_of(place).data(), static_cast<unsigned long long>(got.sent),
              static_cast<unsigned long long>(got.received),
              static_cast<unsigned long long>(got.lost), static_cast<int>(positions));
  if (damaged != 0) {
    std::printf("%zu words or bytes of frames had changed\n", damaged.load());
  }
  if (!got.adds_up()) {
    std::printf("%llu of handlers with SA_ONSTACK did not arrive, %llu came twice\n",
                static_cast<unsigned long long>(got.lost_proper),
                static_cast<unsigned long long>(got.twice));
  }
  std::fflush(stdout);
  const bool may_lose = refuses_kernel(place, of);
  if (!all_are_here || !got.adds_up() || damaged != 0 || (got.lost != 0 && !may_lose)) {
    return 1;
  }
  return got.lost == 0 ? 7 : 8;
}

int storm_in(Place place, const Traits& of) {
  const auto places = std::count_if(std::begin(every_place), std::end(every_place),
                                    [&](Place each) { return exists(each, of); });
  const std::uint64_t signals = signals_of_a_strategy() / static_cast<std::uint64_t>(places);
  const StackOptions options{
      .reserve = 6 * MiB, .policy = from_one_page, .strategy = of.strategy, .name = "storm"};
  const auto descend_there = place == Place::thread         ? descend_in_threads
                             : place == Place::pooled_stack ? descend_on_pooled_stacks
                                                            : descend_in_calls;
  Storm storm(kinds);
  const bool all_are_here = descend_there(
      options, storm, [&] { return storm.sent_by_timers() < signals; }, of.trims);
  return judge(of, place, storm.result(), all_are_here);
}

template <Place place>
int storm_there(const Traits& of) {
  // Handlers nest on it.
  static_cast<void>(handler::set_alternate_stack_size(1 * MiB));
  if (place == Place::forked_child) {
    const Stack before_fork({.reserve = 6 * MiB, .strategy = of.strategy});
    return end_of_child([&] {
      alarm(static_cast<unsigned>(patience.count()));
      return storm_in(place, of);
    });
  }
  return storm_in(place, of);
}
const ScenarioOfEach<storm_there<Place::call>> in_call("a storm in a call");
const ScenarioOfEach<storm_there<Place::thread>> in_thread("a storm in a Thread");
const ScenarioOfEach<storm_there<Place::pooled_stack>> in_pool("a storm on a pooled stack");
const ScenarioOfEach<storm_there<Place::forked_child>> in_child("a storm in a forked child");

/// The first loss is reported on standard error, and nothing else is there.
void check(const Ended& ended) {
  MESSAGE(ended.out);
  CHECK(ended.signal == 0);
  CHECK_FALSE(ended.timed_out);
  CHECK((ended.exit_code == 7 || ended.exit_code == 8));
  if (ended.exit_code == 8) {
    CHECK(ended.err.starts_with("growstack: a signal was lost"));
    CHECK(contains(ended.err, "SA_ONSTACK"));
    CHECK(ended.err.find('\n') == ended.err.size() - 1);
  } else {
    CHECK(ended.err == "");
  }
}

}  // namespace

EVERY_STRATEGY("every signal during growth in calls arrives, or is counted as lost") {
  check(run_scenario_of("a storm in a call", Of::traits, patience));
}

EVERY_STRATEGY("every signal during growth in Threads arrives, or is counted as lost") {
  check(run_scenario_of("a storm in a Thread", Of::traits, patience));
}

EVERY_STRATEGY("every signal during growth on pooled stacks arrives, or is counted as lost") {
  if (!Of::traits.pools) {
    return skip("a pool cannot have this strategy");
  }
  check(run_scenario_of("a storm on a pooled stack", Of::traits, patience));
}

EVERY_STRATEGY("every signal during growth in a forked child arrives, or is counted as lost") {
  check(run_scenario_of("a storm in a forked child", Of::traits, patience));
}

// ---- other senders, other alternate stacks ------------------------------------------------------

namespace {

/// Descends while the alternate stack is now the library's, now the program's.
int change_alternate_stacks(const Traits& of) {
  static_cast<void>(handler::set_alternate_stack_size(1 * MiB));  // handlers nest on it
  std::vector<std::byte> memory(1 * MiB);
  const stack_t own{.ss_sp = memory.data(), .ss_flags = 0, .ss_size = memory.size()};
  constexpr std::array proper{kinds[0], kinds[1]};
  Storm storm(proper);
  // Last, so that no other mapping lands in the hole below a stack that the kernel grows.
  Stack stack({.reserve = 6 * MiB, .policy = from_one_page, .strategy = of.strategy});
  const stack_t ours = current_alternate_stack();
  storm.aim_here();
  Descents descents(storm);
  bool all_are_here = true;
  while (all_are_here && storm.sent_by_timers() < 4'000) {
    descents.send_some();
    call(stack, [&] {
      sigaltstack(&own, nullptr);
      descents.go_down();
      sigaltstack(&ours, nullptr);
      descents.go_down();
    });
    all_are_here = (!of.trims || !stack.trim()) && descents.end();
  }
  all_are_here = storm.aim_at_nobody() && all_are_here;
  return judge(of, Place::call, storm.result(), all_are_here);
}
const ScenarioOfEach<change_alternate_stacks> changing("changing alternate stacks");

volatile sig_atomic_t expirations = 0;

/// Descends while interval timers raise SIGPROF and SIGALRM all the time. Such signals are not
/// queued: one that comes while the last one is pending makes no difference. So they are not
/// counted.
int profile(const Traits& of) {
  Stack stack({.reserve = 6 * MiB, .policy = from_one_page, .strategy = of.strategy});
  struct sigaction action {};
  action.sa_handler = [](int) { expirations = expirations + 1; };
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  sigaction(SIGPROF, &action, nullptr);
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, nullptr);
  const itimerval often{.it_interval = {0, 50}, .it_value = {0, 50}};
  setitimer(ITIMER_PROF, &often, nullptr);
  setitimer(ITIMER_REAL, &often, nullptr);
  std::minstd_rand chance;
  for (int round = 0; round < 1'000; ++round) {
    call(stack,
         [&] { damaged += descend_in_steps(GROWSTACK_HERE - depth_by_chance(chance), chance); });
    if (of.trims && stack.trim()) {
      return 1;
    }
  }
  const itimerval never{};
  setitimer(ITIMER_PROF, &never, nullptr);
  setitimer(ITIMER_REAL, &never, nullptr);
  return expirations > 0 && damaged == 0 ? 7 : 1;
}
const ScenarioOfEach<profile> profiling("profiling");

std::atomic<std::uint32_t> arrived{0};
std::atomic<std::uint32_t> arrived_proper{0};  ///< of those, at the handler with SA_ONSTACK

/// Descends while another thread sends one of two signals that are not queued, each when the last
/// one has arrived or was counted as lost.
int one_at_a_time(const Traits& of) {
  constexpr std::uint32_t signals = 400;
  struct sigaction action {};
  action.sa_handler = [](int) { ++arrived; };
  sigaction(SIGUSR1, &action, nullptr);
  action.sa_handler = [](int) {
    ++arrived_proper;
    ++arrived;
  };
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR2, &action, nullptr);
  const auto ended = [] { return arrived + handler::counters().lost_signal_frame; };
  const pid_t target = gettid();
  std::atomic<bool> is_over = false;
  std::thread sender([&] {
    const auto deadline = std::chrono::steady_clock::now() + patience / 2;
    for (std::uint32_t sent = 0; sent < signals; ++sent) {
      syscall(SYS_tgkill, getpid(), target, sent % 2 == 0 ? SIGUSR1 : SIGUSR2);
      while (ended() <= sent && std::chrono::steady_clock::now() < deadline) {
        std::this_thread::yield();
      }
    }
    is_over = true;
  });
  Stack stack({.reserve = 6 * MiB, .policy = from_one_page, .strategy = of.strategy});
  std::minstd_rand chance;
  bool trimmed = true;
  while (!is_over) {
    call(stack,
         [&] { damaged += descend_in_steps(GROWSTACK_HERE - depth_by_chance(chance), chance); });
    trimmed = (!of.trims || !stack.trim()) && trimmed;
  }
  sender.join();
  const std::uint64_t lost = handler::counters().lost_signal_frame;
  std::printf("%s: %u sent, %u received, %d lost\n", of.name.data(), signals, arrived.load(),
              static_cast<int>(lost));
  const bool is_right = trimmed && damaged == 0 && arrived + lost == signals &&
                        arrived_proper == signals / 2 &&
                        (lost == 0 || refuses_kernel(Place::call, of));
  return !is_right ? 1 : lost == 0 ? 7 : 8;
}
const ScenarioOfEach<one_at_a_time> one_by_one("one at a time");

}  // namespace

EVERY_STRATEGY("no signal is lost while the program changes its alternate stack") {
  const Ended ended = run_scenario_of("changing alternate stacks", Of::traits, patience);
  CHECK(ended.exit_code == 7);
  CHECK(ended.err == "");
}

EVERY_STRATEGY("frames stay whole while interval timers raise SIGPROF and SIGALRM all the time") {
  const Ended ended = run_scenario_of("profiling", Of::traits, patience);
  CHECK(ended.exit_code == 7);
  CHECK((ended.err == "" || ended.err.starts_with("growstack: a signal was lost")));
}

EVERY_STRATEGY("a signal that is not queued arrives, or is counted as lost, before the next one") {
  check(run_scenario_of("one at a time", Of::traits, patience));
}
