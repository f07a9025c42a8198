// A signal at every position of the stack pointer near the limit, and one between any two
// instructions of a growing function. Here it is known beforehand which ones find no room.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "descent.hpp"
#include "places.hpp"
#include "support/bare_system_call.hpp"
#include "support/each_strategy.hpp"
#include "support/machine/machine.hpp"
#include "support/scenario.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>

using namespace growstack;
using namespace growstack::testing;

namespace {

constexpr std::size_t page = 4 * KiB;
constexpr std::chrono::seconds patience(110);  // on a busy machine

volatile std::uintptr_t frame_of_signal = 0;
volatile sig_atomic_t arrived = 0;

/// The kernel wrote the frame right above this function's, and nothing below it.
void note_frame(int) {
  frame_of_signal = GROWSTACK_HERE + sizeof(void*);
  arrived = arrived + 1;
}

void handle(int signal, void (*handler)(int), int flags) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigaction(signal, &action, nullptr);
}

std::uint64_t lost() { return handler::counters().lost_signal_frame; }

/// Sends SIGUSR1 to this thread while the stack pointer is `at`, to the byte.
void signal_at(std::uintptr_t at) {
  machine::system_call_with_stack_pointer(reinterpret_cast<void*>(at), SYS_tkill, gettid(), SIGUSR1,
                                          0);
}

/// How far below the stack pointer the frame of a signal begins. That depends on the alignment of
/// the stack pointer, and is measured on memory where there is room.
class FrameBytes {
 public:
  FrameBytes() {
    alignas(64) static std::array<std::byte, 64 * KiB> room;
    for (std::size_t residue = 0; residue < below_.size(); ++residue) {
      const std::uintptr_t at = address_of(room.data()) + room.size() / 2 + residue;
      signal_at(at);
      below_[residue] = at - frame_of_signal;
    }
  }
  [[nodiscard]] std::uintptr_t lowest(std::uintptr_t at) const {
    return at - below_[at % below_.size()];
  }

 private:
  std::array<std::size_t, 64> below_{};
};

/// From a page below the border to two pages above it.
constexpr std::ptrdiff_t first_position = -4096;
constexpr std::ptrdiff_t end_of_positions = 8192;

/// Returns an address below which nothing is committed, or nothing was touched.
std::uintptr_t border_of(const Stack& stack, const Traits& of) {
  return of.limit_moves ? address_of(stack.limit()) : address_of(stack.base()) - 64 * KiB;
}

/// Tries every `step`th position. Returns 7 if each signal arrived, or was lost and counted where
/// its frame had no room.
template <int flags>
int each_position(const Traits& of) {
  constexpr std::ptrdiff_t step = flags == 0 ? 1 : 16;
  handle(SIGUSR1, note_frame, 0);
  const FrameBytes frame;
  handle(SIGUSR1, note_frame, flags);
  Stack stack({.reserve = 6 * MiB, .policy = page_by_page, .strategy = of.strategy});
  const bool may_lose = flags == 0 && refuses_kernel(Place::call, of);
  unsigned positions = 0;
  unsigned losses = 0;
  for (std::ptrdiff_t from_border = first_position; from_border < end_of_positions;
       from_border += step) {
    const std::uintptr_t border = border_of(stack, of);
    const std::uintptr_t at = border + static_cast<std::uintptr_t>(from_border);
    const std::uint64_t lost_before = lost();
    arrived = 0;
    int arrived_at_once = 0;
    call(stack, [&] {
      signal_at(at);
      arrived_at_once = arrived;
      signal_at(at);  // finds the room that the first one lacked
    });
    const bool has_room = !may_lose || frame.lowest(at) >= border;
    const bool is_right = arrived_at_once == (has_room ? 1 : 0) && arrived == arrived_at_once + 1 &&
                          lost() - lost_before == (has_room ? 0 : 1);
    ++positions;
    losses += has_room ? 0U : 1U;
    if (!is_right || (of.trims && stack.trim()) || border_of(stack, of) != border) {
      std::printf("at limit %+td: %d of 2 arrived, %d counted as lost, and it has %s\n",
                  from_border, static_cast<int>(arrived), static_cast<int>(lost() - lost_before),
                  has_room ? "room" : "no room");
      return 1;
    }
  }
  std::printf("%s: %u positions, %u without room\n", of.name.data(), positions, losses);
  return (losses != 0) == may_lose ? 7 : 1;
}
const ScenarioOfEach<each_position<0>> plain("each position");
const ScenarioOfEach<each_position<SA_ONSTACK>> proper("each position with SA_ONSTACK");

}  // namespace

EVERY_STRATEGY(
    "at every byte near the limit a signal arrives if its frame has room, and else is counted") {
  const Ended ended = run_scenario_of("each position", Of::traits);
  MESSAGE(ended.out);
  CHECK(ended.exit_code == 7);
  const bool may_lose = refuses_kernel(Place::call, Of::traits);
  CHECK(ended.err.starts_with("growstack: a signal was lost") == may_lose);
}

EVERY_STRATEGY("at every position near the limit a signal with SA_ONSTACK arrives") {
  const Ended ended = run_scenario_of("each position with SA_ONSTACK", Of::traits);
  MESSAGE(ended.out);
  CHECK(ended.exit_code == 7);
  CHECK(ended.err == "");
}

// ---- between any two instructions ---------------------------------------------------------------

namespace {

volatile sig_atomic_t steps = 0;
volatile sig_atomic_t in_order = 1;

/// Comes after each instruction. The signal that it sends comes when it returns, before the next
/// instruction.
void after_instruction(int, siginfo_t*, void*) {
  steps = steps + 1;
  siginfo_t info{};
  info.si_code = SI_QUEUE;
  info.si_pid = getpid();
  info.si_value.sival_int = steps;
  syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGRTMIN + 1, &info);
}

/// A signal comes before the next one is sent, or never.
void count_value(int, siginfo_t* info, void*) {
  arrived = arrived + 1;
  in_order = in_order != 0 && info->si_value.sival_int == steps ? 1 : 0;
}

void send_after_each_instruction(int flags) {
  struct sigaction action {};
  action.sa_sigaction = after_instruction;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigfillset(&action.sa_mask);
  sigaction(SIGTRAP, &action, nullptr);
  action.sa_sigaction = count_value;
  action.sa_flags = SA_SIGINFO | flags;
  sigaction(SIGRTMIN + 1, &action, nullptr);
}

/// Descends over some pages, one instruction after the other.
template <int flags, Place place>
int each_instruction(const Traits& of) {
  if (!exists(place, of)) {
    return 7;
  }
  send_after_each_instruction(flags);
  constexpr GrowthPolicy policy{
      .initial_commit = 4 * KiB, .factor = 1, .least_step = 4 * KiB, .headroom = 0};
  return run_in(place, of, policy, [&](Stack& stack) {
    const std::uint64_t lost_before = lost();
    const std::uint32_t growths_before = stack.counters().growth_faults;
    std::minstd_rand chance;
    const std::uintptr_t from = of.limit_moves ? address_of(stack.limit()) : GROWSTACK_HERE;
    const std::uintptr_t lowest = std::min(from, GROWSTACK_HERE) - 12 * KiB;
    machine::trap_each_instruction(true);
    const std::size_t wrong = descend_in_steps(lowest, chance);
    machine::trap_each_instruction(false);
    const std::uint64_t losses = lost() - lost_before;
    const std::uint32_t growths = stack.counters().growth_faults - growths_before;
    std::printf("%s, %s: %d instructions, %u growths, %d arrived, %d lost\n", of.name.data(),
                name_of(place).data(), static_cast<int>(steps), growths, static_cast<int>(arrived),
                static_cast<int>(losses));
    const bool may_lose = flags == 0 && refuses_kernel(place, of);
    const bool adds_up =
        static_cast<std::uint64_t>(steps) == static_cast<std::uint64_t>(arrived) + losses;
    return adds_up && in_order != 0 && wrong == 0 && steps > 1000 && (losses == 0 || may_lose) ? 7
                                                                                               : 1;
  });
}

const ScenarioOfEach<each_instruction<0, Place::call>> call_plain("instructions in a call");
const ScenarioOfEach<each_instruction<SA_ONSTACK, Place::call>> call_proper(
    "instructions in a call with SA_ONSTACK");
const ScenarioOfEach<each_instruction<0, Place::thread>> thread_plain("instructions in a Thread");
const ScenarioOfEach<each_instruction<SA_ONSTACK, Place::thread>> thread_proper(
    "instructions in a Thread with SA_ONSTACK");
const ScenarioOfEach<each_instruction<0, Place::pooled_stack>> pool_plain(
    "instructions on a pooled stack");
const ScenarioOfEach<each_instruction<SA_ONSTACK, Place::pooled_stack>> pool_proper(
    "instructions on a pooled stack with SA_ONSTACK");
const ScenarioOfEach<each_instruction<0, Place::forked_child>> child_plain(
    "instructions in a forked child");
const ScenarioOfEach<each_instruction<SA_ONSTACK, Place::forked_child>> child_proper(
    "instructions in a forked child with SA_ONSTACK");

constexpr std::array<const char*, 4> places{"instructions in a call", "instructions in a Thread",
                                            "instructions on a pooled stack",
                                            "instructions in a forked child"};

}  // namespace

EVERY_STRATEGY(
    "between any two instructions of a growing function a signal arrives, or is counted as lost") {
  for (const char* const each : places) {
    const Ended ended = run_scenario_of(each, Of::traits, patience);
    MESSAGE(ended.out);
    CHECK(ended.exit_code == 7);
    CHECK((ended.err == "" || ended.err.starts_with("growstack: a signal was lost")));
  }
}

EVERY_STRATEGY(
    "between any two instructions of a growing function a signal with SA_ONSTACK arrives") {
  for (const char* const each : places) {
    const Ended ended =
        run_scenario_of(std::string(each) + " with SA_ONSTACK", Of::traits, patience);
    MESSAGE(ended.out);
    CHECK(ended.exit_code == 7);
    CHECK(ended.err == "");
  }
}

namespace {

[[gnu::noinline]] void use_two_pages() {
  char space[2 * page];
  space[0] = 1;
  asm volatile("" : : "r"(space) : "memory");
}

/// Acquires a pooled stack, runs a function on it and gives it back, one instruction after the
/// other.
template <int flags>
int each_instruction_of_a_call(const Traits& of) {
  if (!of.pools) {
    return 7;
  }
  send_after_each_instruction(flags);
  StackPool pool({.reserve = 6 * MiB, .strategy = of.strategy});
  for (int round = 0; round < 3; ++round) {
    const std::uint64_t lost_before = lost();
    steps = 0;
    arrived = 0;
    machine::trap_each_instruction(round != 0);  // the first round has what is done once
    {
      Stack stack = pool.acquire();
      call(stack, use_two_pages);
    }
    machine::trap_each_instruction(false);
    const std::uint64_t losses = lost() - lost_before;
    std::printf("%s: %d instructions, %d arrived, %d lost\n", of.name.data(),
                static_cast<int>(steps), static_cast<int>(arrived), static_cast<int>(losses));
    if (static_cast<std::uint64_t>(steps) != static_cast<std::uint64_t>(arrived) + losses ||
        in_order == 0 || (flags != 0 && losses != 0) || (round != 0 && steps < 100)) {
      return 1;
    }
  }
  return 7;
}
const ScenarioOfEach<each_instruction_of_a_call<0>> call_itself("instructions of a call itself");
const ScenarioOfEach<each_instruction_of_a_call<SA_ONSTACK>> call_itself_proper(
    "instructions of a call itself with SA_ONSTACK");

}  // namespace

EVERY_STRATEGY(
    "between any two instructions of acquire, call and release a signal arrives, or is counted") {
  if (!Of::traits.pools) {
    return skip("a pool cannot have this strategy");
  }
  for (const char* const each :
       {"instructions of a call itself", "instructions of a call itself with SA_ONSTACK"}) {
    const Ended ended = run_scenario_of(each, Of::traits);
    MESSAGE(ended.out);
    CHECK(ended.exit_code == 7);
  }
}
