// With the component keep_handler, what begins on a growable stack asks the kernel nothing, and
// does so as soon as something may have changed.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/handler.hpp>
#include <growstack/ucontext.hpp>

#include "support/forked.hpp"
#include "support/recursion.hpp"
#include "support/scenario.hpp"
#include "support/system_call_filter.hpp"
#include "support/units.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <csetjmp>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <thread>

using namespace growstack;
using namespace growstack::testing;

namespace {

Stack growing_stack(Strategy strategy = Strategy::in_handler) {
  return Stack({.reserve = 64 * MiB, .strategy = strategy});
}

/// Returns whether a call on a stack of its own goes deep.
bool grows() {
  Stack stack = growing_stack();
  return call(stack, [] { return recurse(20'000); }) == 20'000;
}

/// Has the thread attached in such a way that nothing is looked at any more.
void settle(Stack& stack) {
  call(stack, [] {});
  call(stack, [] {});
}

/// From now on a question to the kernel kills the process.
void forbid_questions() {
  SystemCallFilter filter;
  for (const long asks : {SYS_sigaltstack, SYS_rt_sigaction, SYS_rt_sigprocmask}) {
    filter.add(SCMP_ACT_KILL_PROCESS, asks);
  }
  filter.install();
}

/// Returns how a child ended that asks nothing from now on while body() runs.
template <class Body>
int end_without_questions(const Body& body) {
  return end_of_child([&] {
    forbid_questions();
    body();
    return 7;
  });
}

constexpr int auto_disarm = static_cast<int>(1U << 31U);  // SS_AUTODISARM of <linux/signal.h>

sigjmp_buf outside;
void leave_by_siglongjmp(int) { siglongjmp(outside, 1); }
void leave_by_longjmp(int) { longjmp(outside, 1); }

/// Leaves a handler that runs on the alternate stack.
void leave_handler(void (*handler)(int), int saves_mask) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_ONSTACK;
  sigfillset(&action.sa_mask);
  sigaction(SIGUSR1, &action, nullptr);
  if (sigsetjmp(outside, saves_mask) == 0) {
    raise(SIGUSR1);
  }
}

/// A large alternate stack of the program.
class Large {
 public:
  explicit Large(int flags = 0) {
    const stack_t stack{.ss_sp = memory_, .ss_flags = flags, .ss_size = size};
    REQUIRE(sigaltstack(&stack, nullptr) == 0);
  }
  void unmap() const { munmap(memory_, size); }

 private:
  static constexpr std::size_t size = 64 * KiB;
  void* memory_ = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
};

}  // namespace

TEST_CASE("with keep_handler a call in a thread that made some before asks the kernel nothing") {
  Stack stack = growing_stack();
  const auto calls = [&] {
    for (int i = 0; i < 100; ++i) {
      call(stack, [] {});
    }
  };
  settle(stack);
  CHECK(handler::stays_attached());
  CHECK(end_without_questions(calls) == 7);
  std::thread([&] {
    CHECK_FALSE(handler::stays_attached());
    CHECK(end_without_questions(calls) == killed_by(SIGSYS));
    settle(stack);
    CHECK(end_without_questions(calls) == 7);
  }).join();
  Thread([&] {
    settle(stack);
    CHECK(end_without_questions(calls) == 7);
  }).join();
}

TEST_CASE("with keep_handler a context is made without a question about signals") {
  Stack stack = growing_stack();
  settle(stack);
  CHECK(end_of_child([&] {
          SystemCallFilter filter;  // getcontext(3) itself asks for the mask
          filter.add(SCMP_ACT_KILL_PROCESS, SYS_sigaltstack);
          filter.add(SCMP_ACT_KILL_PROCESS, SYS_rt_sigaction);
          filter.install();
          ucontext_t context{};
          make_context(
              context, stack, [](void*) {}, nullptr, nullptr);
          return 7;
        }) == 7);
}

TEST_CASE("a child that is forked, also from within a call, asks nothing and grows") {
  Stack stack = growing_stack();
  settle(stack);
  CHECK(end_without_questions([&] { call(stack, [] { recurse(20'000); }); }) == 7);
  Stack inner = growing_stack();
  CHECK(call(stack, [&] {
          return end_without_questions([&] { call(inner, [] { recurse(20'000); }); });
        }) == 7);
}

TEST_CASE("calls grow after a handler was left by a jump, with and without the mask") {
  Stack stack = growing_stack();
  settle(stack);
  leave_handler(leave_by_siglongjmp, 1);
  CHECK(grows());
  leave_handler(leave_by_longjmp, 0);
  CHECK(grows());
}

TEST_CASE(
    "calls grow after a handler that had switched its alternate stack off was left by a jump") {
  std::thread([] {
    Stack stack = growing_stack();
    settle(stack);
    const Large programs(auto_disarm);
    CHECK_FALSE(handler::stays_attached());
    settle(stack);
    leave_handler(leave_by_siglongjmp, 1);
    CHECK(grows());
    static char small[8192];
    const stack_t too_small{.ss_sp = small, .ss_flags = auto_disarm, .ss_size = sizeof small};
    REQUIRE(sigaltstack(&too_small, nullptr) == 0);
    settle(stack);
    leave_handler(leave_by_siglongjmp, 1);
    CHECK(grows());
  }).join();
}

TEST_CASE("calls grow after the program has set a large alternate stack and unmapped it") {
  std::thread([] {
    Stack stack = growing_stack();
    settle(stack);
    const Large programs;
    settle(stack);
    programs.unmap();
    CHECK(grows());
  }).join();
}

GROWSTACK_SCENARIO("installed anew") {
  {
    Stack stack = growing_stack();
    settle(stack);
  }
  require(handler::uninstall() == 0, "uninstalled");
  require(!handler::stays_attached(), "not attached for good");
  sigset_t fault;
  sigemptyset(&fault);
  sigaddset(&fault, SIGSEGV);
  pthread_sigmask(SIG_BLOCK, &fault, nullptr);  // reaches the kernel now
  signal(SIGSEGV, SIG_DFL);
  const stack_t none{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
  syscall(SYS_sigaltstack, &none, nullptr);
  return grows() && grows() ? 7 : 1;
}

TEST_CASE("a thread is attached anew after the handler was uninstalled and installed again") {
  CHECK(run_scenario("installed anew").exit_code == 7);
}

GROWSTACK_SCENARIO("a second signal") {
  sigset_t fault;
  sigemptyset(&fault);
  sigaddset(&fault, SIGBUS);
  pthread_sigmask(SIG_BLOCK, &fault, nullptr);
  Stack first = growing_stack();
  settle(first);
  require(handler::stays_attached(), "attached for good");
  std::optional<Stack> second;
  std::thread([&] { second.emplace(growing_stack(Strategy::userfault_signal)); }).join();
  return call(*second, [] { return recurse(20'000); }) == 20'000 ? 7 : 1;
}

TEST_CASE("a thread that is attached for one signal is attached anew when a second one is kept") {
  if (const Support support = supported(Strategy::userfault_signal); !support) {
    return skip(support.reason);
  }
  CHECK(run_scenario("a second signal").exit_code == 7);
}

GROWSTACK_SCENARIO("attached in a vfork child") {
  Stack stack = growing_stack();
  int result = 1;
  std::thread([&] {
    const pid_t child = vfork();
    if (child == 0) {
      for (int i = 0; i < 3; ++i) {
        call(stack, [] {});
      }
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    result = grows() && grows() ? 7 : 1;
  }).join();
  return result;
}

TEST_CASE("what a vfork child attaches is not taken for attached in its parent") {
  CHECK(run_scenario("attached in a vfork child").exit_code == 7);
}

GROWSTACK_SCENARIO("changed in a vfork child") {
  Stack stack = growing_stack();
  settle(stack);
  const pid_t child = vfork();
  if (child == 0) {
    const stack_t none{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
    sigaltstack(&none, nullptr);  // reaches the kernel
    _exit(call(stack, [] { return recurse(20'000); }) == 20'000 ? 7 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 7 && grows() ? 7 : 1;
}

TEST_CASE("a vfork child that takes its alternate stack away gets it back at its next call") {
  CHECK(run_scenario("changed in a vfork child").exit_code == 7);
}

namespace {

/// Makes calls when the thread ends, in each round of the destructors of keys.
int late_calls() {
  static pthread_key_t key;
  static int good = 0;
  pthread_key_create(&key, [](void* still) {
    good += grows() ? 1 : 0;
    pthread_setspecific(key, still);
  });
  std::thread([] {
    Stack stack = growing_stack();
    settle(stack);
    pthread_setspecific(key, &key);
  }).join();
  return good;
}

}  // namespace

GROWSTACK_SCENARIO("late calls") { return late_calls() == PTHREAD_DESTRUCTOR_ITERATIONS ? 7 : 1; }

TEST_CASE("calls grow to the last destructor of a thread that was attached for good") {
  CHECK(run_scenario("late calls").exit_code == 7);
}

GROWSTACK_SCENARIO("taken away past libc") {
  stack_t gone{};
  std::thread([&] {
    Stack stack = growing_stack();
    settle(stack);
    const stack_t none{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
    syscall(SYS_sigaltstack, &none, &gone);
    munmap(gone.ss_sp, gone.ss_size);
    require(mmap(gone.ss_sp, gone.ss_size, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == gone.ss_sp,
            "the program's data in its place");
    std::memset(gone.ss_sp, 'x', gone.ss_size);
  }).join();
  require(std::count(static_cast<char*>(gone.ss_sp), static_cast<char*>(gone.ss_sp) + gone.ss_size,
                     'x') == static_cast<std::ptrdiff_t>(gone.ss_size),
          "the data is whole");
  std::thread([&] { require(grows(), "the next thread grows"); }).join();
  return 7;
}

TEST_CASE("what the program puts in the place of a stack that it took away past libc stays whole") {
  CHECK(run_scenario("taken away past libc").exit_code == 7);
}
