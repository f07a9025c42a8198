// Signals at each stage of a fault: while the handler plans and commits, while the thread waits for
// the helper, and while a fault of the program is forwarded. They are blocked there, and must come
// once the program goes on.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>
#include <growstack/handler/ranges.hpp>

#include "descent.hpp"
#include "storm.hpp"
#include "support/bare_system_call.hpp"
#include "support/descend.hpp"
#include "support/one_slot.hpp"
#include "support/scenario.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>

using namespace growstack;
using namespace growstack::testing;
namespace handler = growstack::handler;

namespace {

constexpr int plain = 1;
constexpr int proper = 2;

std::atomic<int> sent{0};
std::atomic<int> sent_proper{0};  ///< of those, to the handler with SA_ONSTACK
std::atomic<int> received{0};
std::atomic<int> received_proper{0};
std::atomic<int> received_too_early{0};
std::atomic<bool> is_in_fault{false};
pid_t the_thread = 0;

void count_signal(int signal) {
  ++received;
  received_proper += signal == SIGRTMIN + proper ? 1 : 0;
  received_too_early += is_in_fault ? 1 : 0;
}

void send_both() {
  for (const int kind : {plain, proper}) {
    const int done = syscall(SYS_tgkill, getpid(), the_thread, SIGRTMIN + kind) == 0 ? 1 : 0;
    sent += done;
    sent_proper += kind == proper ? done : 0;
  }
}

void count_signals() {
  the_thread = gettid();
  struct sigaction action {};
  action.sa_handler = count_signal;
  sigaction(SIGRTMIN + plain, &action, nullptr);
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGRTMIN + proper, &action, nullptr);
}

/// Sends when the handler plans, and when the helper or the handler commits, before and after.
constexpr handler::Operations operations{
    .plan =
        [](const handler::Range& range, const handler::SlotRecord& slot,
           std::uintptr_t address) noexcept {
          is_in_fault = true;
          send_both();
          return to_the_limit(range, slot, address);
        },
    .commit =
        [](const handler::Range&, const handler::SlotRecord&, handler::Step step) noexcept {
          send_both();
          const int error = make_writable(step);
          send_both();
          is_in_fault = false;
          return error;
        },
    .on_overflow = [](const handler::SlotRecord&, const handler::Fault&, void*,
                      int) noexcept { return handler::Disposition::forward; },
};

constexpr int growths = 2'000;
constexpr int sent_by_a_growth = 6;

/// Each growth sends six signals. The three without SA_ONSTACK may find no room if the code runs on
/// the slot itself; nothing else may be lost.
template <handler::Committer committer, bool on_the_slot>
int grow_among_signals() {
  count_signals();
  const OneSlot slot(operations, committer, 4);
  if (on_the_slot) {
    slot.run([&] {
      std::minstd_rand chance;
      static_cast<void>(descend_in_steps(slot.limit() - growths * handler::page_size(), chance));
    });
  } else {
    for (int each = 0; each < growths; ++each) {
      slot.touch(1);
    }
  }
  syscall(SYS_getppid);
  const auto counted = handler::counters();
  std::printf("%d sent, %d received, %d lost, %d too early, %d by helper\n", sent.load(),
              received.load(), static_cast<int>(counted.lost_signal_frame),
              received_too_early.load(), static_cast<int>(counted.by_helper));
  std::printf("with SA_ONSTACK: %d sent, %d received\n", sent_proper.load(),
              received_proper.load());
  const bool by_helper = committer == handler::Committer::helper;
  const bool adds_up = static_cast<std::uint64_t>(sent) ==
                       static_cast<std::uint64_t>(received) + counted.lost_signal_frame;
  const bool proper_arrive =
      received_proper == sent_proper && sent_proper >= growths * sent_by_a_growth / 2;
  return adds_up && proper_arrive && sent >= growths * sent_by_a_growth &&
                 received_too_early == 0 && (on_the_slot || counted.lost_signal_frame == 0) &&
                 (counted.by_helper != 0) == by_helper
             ? 7
             : 1;
}

void check(const std::string& scenario) {
  const Ended ended = run_scenario(scenario);
  MESSAGE(ended.out);
  CHECK(ended.exit_code == 7);
  CHECK((ended.err == "" || ended.err.starts_with("growstack: a signal was lost")));
}

}  // namespace

GROWSTACK_SCENARIO("stages in the handler") {
  return grow_among_signals<handler::Committer::handler, false>();
}
GROWSTACK_SCENARIO("stages with the helper") {
  return grow_among_signals<handler::Committer::helper, false>();
}
GROWSTACK_SCENARIO("stages in the handler, on the slot") {
  return grow_among_signals<handler::Committer::handler, true>();
}
GROWSTACK_SCENARIO("stages with the helper, on the slot") {
  return grow_among_signals<handler::Committer::helper, true>();
}

TEST_CASE("signals that come at each stage of the handler arrive when it has returned") {
  check("stages in the handler");
  check("stages in the handler, on the slot");
}

TEST_CASE("signals that come while a thread waits for the helper arrive when it has its memory") {
  check("stages with the helper");
  check("stages with the helper, on the slot");
}

namespace {

constexpr std::size_t page = 4 * KiB;
char* forbidden = nullptr;
std::atomic<int> received_in_handler{0};

/// The program's own handler, which was there before ours. All signals but its own may come here.
void permit(int, siginfo_t*, void*) {
  const int before = received;
  send_both();
  received_in_handler += received - before;
  mprotect(forbidden, page, PROT_READ | PROT_WRITE);
}

}  // namespace

GROWSTACK_SCENARIO("stages of forwarding") {
  forbidden =
      static_cast<char*>(mmap(nullptr, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  struct sigaction action {};
  action.sa_sigaction = permit;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, nullptr);
  count_signals();
  Stack stack({.reserve = 6 * MiB});
  call(stack, [] {
    for (int each = 0; each < growths; ++each) {
      *static_cast<volatile char*>(forbidden) = 1;
      mprotect(forbidden, page, PROT_NONE);
    }
  });
  std::printf("%d sent, %d received in the handler\n", sent.load(), received_in_handler.load());
  return sent == 2 * growths && received_in_handler == sent && received == sent &&
                 handler::counters().foreign == growths
             ? 7
             : 1;
}

TEST_CASE("signals that come while a fault is forwarded arrive in the program's handler, as ever") {
  check("stages of forwarding");
}

namespace {

template <int flags>
void count_reads_of_a_lost_signal(int* ends) {
  struct sigaction action {};
  action.sa_handler = count_signal;
  action.sa_flags = flags;
  sigaction(SIGUSR1, &action, nullptr);
  Stack stack({.reserve = 6 * MiB, .policy = {.headroom = 0}, .strategy = Strategy::in_handler});
  const pid_t reader = gettid();
  std::thread other([reader, ends] {
    usleep(20'000);
    syscall(SYS_tgkill, getpid(), reader, SIGUSR1);
    usleep(20'000);
    static_cast<void>(write(ends[1], "x", 1));
  });
  static char byte = 0;
  call(stack, [&] {
    const std::uintptr_t at = address_of(stack.limit()) + 700;
    at_stack_pointer(at, [&] {
      received =
          static_cast<int>(bare_system_call(SYS_read, ends[0], reinterpret_cast<long>(&byte), 1));
    });
  });
  other.join();
}

}  // namespace

GROWSTACK_SCENARIO("a read that a lost signal interrupts") {
  int ends[2];
  static_cast<void>(!pipe(ends));
  count_reads_of_a_lost_signal<SA_RESTART>(ends);
  const int restarted = received;
  count_reads_of_a_lost_signal<0>(ends);
  const int interrupted = received;
  const auto lost = handler::counters().lost_signal_frame;
  std::printf("%d, %d, %d lost\n", restarted, interrupted, static_cast<int>(lost));
  return restarted == 1 && interrupted == -EINTR && lost == 2 ? 7 : 1;
}

TEST_CASE("a system call that a lost signal interrupts goes on, or fails, by that signal's flags") {
  check("a read that a lost signal interrupts");
}

GROWSTACK_SCENARIO("a read among ignored faults") {
  std::signal(SIGSEGV, SIG_IGN);
  Stack stack({.reserve = 6 * MiB});
  int ends[2];
  static_cast<void>(!pipe(ends));
  const pid_t reader = gettid();
  std::thread other([reader, ends] {
    for (int each = 0; each < 20; ++each) {
      usleep(1'000);
      syscall(SYS_tgkill, getpid(), reader, SIGSEGV);
    }
    static_cast<void>(!write(ends[1], "x", 1));
  });
  const long bytes = call(stack, [&] {
    char byte = 0;
    return bare_system_call(SYS_read, ends[0], reinterpret_cast<long>(&byte), 1);
  });
  other.join();
  std::printf("%ld\n", bytes);
  return bytes == 1 ? 7 : 1;
}

TEST_CASE("a SIGSEGV that is sent, and that the program ignores, interrupts no system call") {
  check("a read among ignored faults");
}
