// The alternate signal stack of each thread, and how much of it the handler uses.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/classify.hpp>
#include <growstack/handler/pages.hpp>

#include "support/alternate_stack.hpp"
#include "support/each_strategy.hpp"
#include "support/recursion.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

using namespace growstack;
using namespace growstack::testing;

namespace {

/// Runs body() in a thread that has no alternate stack, not even a sanitizer's or a library's.
template <class Body>
void on_bare_thread(const Body& body) {
  std::thread([&] {
    const stack_t before = take_alternate_stack_away();
    body();
    if ((before.ss_flags & SS_DISABLE) == 0) {
      sigaltstack(&before, nullptr);
    }
  }).join();
}

/// An alternate stack that is filled with a pattern, so that it can tell how deep it was used.
class MeasuredStack {
 public:
  explicit MeasuredStack(std::size_t size) : bytes_(size, pattern) {
    const stack_t ours{.ss_sp = bytes_.data(), .ss_flags = 0, .ss_size = bytes_.size()};
    sigaltstack(&ours, &before_);
  }
  ~MeasuredStack() { sigaltstack(&before_, nullptr); }
  MeasuredStack(const MeasuredStack&) = delete;
  MeasuredStack& operator=(const MeasuredStack&) = delete;

  [[nodiscard]] std::size_t used() const {
    const auto untouched = std::find_if(bytes_.begin(), bytes_.end(),
                                        [](unsigned char byte) { return byte != pattern; });
    return static_cast<std::size_t>(bytes_.end() - untouched);
  }

 private:
  static constexpr unsigned char pattern = 0xa5;
  std::vector<unsigned char> bytes_;
  stack_t before_{};
};

}  // namespace

TEST_CASE(
    "a thread that is attached has an alternate stack of 64 KiB, with a guard page below it") {
  on_bare_thread([] {
    CHECK(handler::attach_thread() == 0);
    const stack_t now = current_alternate_stack();
    CHECK((now.ss_flags & SS_DISABLE) == 0);
    CHECK(now.ss_size == handler::alternate_stack_size());
    CHECK(now.ss_size == 64 * KiB);
    unsigned char residency = 0;
    char* const guard = static_cast<char*>(now.ss_sp) - handler::page_size();
    CHECK(mincore(guard, handler::page_size(), &residency) == 0);  // it is mapped,
    CHECK(write(STDERR_FILENO, guard, 1) == -1);                   // but not readable
    CHECK(errno == EFAULT);
  });
}

TEST_CASE("attaching is idempotent") {
  on_bare_thread([] {
    CHECK(handler::attach_thread() == 0);
    const stack_t first = current_alternate_stack();
    CHECK(handler::attach_thread() == 0);
    CHECK(current_alternate_stack().ss_sp == first.ss_sp);
  });
}

TEST_CASE("a thread that has a large enough alternate stack keeps it") {
  on_bare_thread([] {
    std::vector<char> theirs(handler::least_alternate_stack_size());
    const stack_t large{.ss_sp = theirs.data(), .ss_flags = 0, .ss_size = theirs.size()};
    REQUIRE(sigaltstack(&large, nullptr) == 0);
    CHECK(handler::attach_thread() == 0);
    CHECK(current_alternate_stack().ss_sp == theirs.data());
    take_alternate_stack_away();
  });
}

TEST_CASE(
    "a thread whose alternate stack is too small gets ours, and its own back before it ends") {
  static stack_t at_the_end;
  static pthread_key_t key;
  // The destructors of keys run in four rounds. Ours stays as long as other destructors may need
  // it. The last round finds the thread's own again.
  static bool was_there;
  static std::atomic<int> rounds = 0;  // incremented last: who reads it sees the rest
  REQUIRE(pthread_key_create(&key, [](void* still) {
            at_the_end = current_alternate_stack();
            if (rounds == 1) {
              was_there = at_the_end.ss_size >= handler::least_alternate_stack_size();
            }
            pthread_setspecific(key, still);
            ++rounds;
          }) == 0);
  std::vector<char> theirs(std::max<std::size_t>(8192, static_cast<std::size_t>(MINSIGSTKSZ)));
  REQUIRE(theirs.size() < handler::least_alternate_stack_size());
  bool replaced = false;
  std::thread([&] {
    pthread_setspecific(key, &key);
    const stack_t small{.ss_sp = theirs.data(), .ss_flags = 0, .ss_size = theirs.size()};
    sigaltstack(&small, nullptr);
    replaced = handler::attach_thread() == 0 && current_alternate_stack().ss_sp != theirs.data();
  }).join();
  CHECK(replaced);
  CHECK(rounds == PTHREAD_DESTRUCTOR_ITERATIONS);
  CHECK(was_there);
  CHECK(at_the_end.ss_sp == theirs.data());
  CHECK(at_the_end.ss_size == theirs.size());
  pthread_key_delete(key);
}

TEST_CASE("threads that come and go leave no alternate stack behind") {
  const auto round = [] { on_bare_thread([] { CHECK(handler::attach_thread() == 0); }); };
  round();  // makes what is made only once
  const std::size_t before = mapping_count();
  for (int count = 0; count < 200; ++count) {
    round();
  }
  if (under_thread_sanitizer) {
    skip("ThreadSanitizer keeps mappings of its own for each thread");
    return;
  }
  CHECK(mapping_count() <= before + 4);  // libc may keep one more thread stack or allocator arena
}

TEST_CASE("the size of alternate stacks can be set to no less than what the handler needs") {
  CHECK(handler::set_alternate_stack_size(handler::least_alternate_stack_size() - 1) == EINVAL);
  CHECK(handler::set_alternate_stack_size(~std::size_t{0}) == EINVAL);
  CHECK(handler::set_alternate_stack_size(256 * KiB) == 0);
  on_bare_thread([] {
    CHECK(handler::attach_thread() == 0);
    CHECK(current_alternate_stack().ss_size == 256 * KiB);
  });
  CHECK(handler::set_alternate_stack_size(64 * KiB) == 0);
}

TEST_CASE(
    "a thread cannot be attached from a handler that runs on the alternate stack to be replaced") {
  static int result = -1;
  on_bare_thread([] {
    CHECK(handler::attach_thread() == 0);
    std::vector<char> theirs(std::max<std::size_t>(8192, static_cast<std::size_t>(MINSIGSTKSZ)));
    const stack_t small{.ss_sp = theirs.data(), .ss_flags = 0, .ss_size = theirs.size()};
    sigaltstack(&small, nullptr);
    struct sigaction action {};
    action.sa_handler = [](int) { result = handler::attach_thread(); };
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGUSR1, &action, nullptr);
    raise(SIGUSR1);
    take_alternate_stack_away();
  });
  CHECK(result == EPERM);
}

TEST_CASE("growth uses little of the alternate stack beyond the kernel's own frame") {
  for (const Strategy strategy : {Strategy::pipe_helper, Strategy::in_handler}) {
    Stack stack({.reserve = 64 * MiB, .strategy = strategy});
    const MeasuredStack measured(256 * KiB);
    call(stack, [] { recurse(20000); });
    const std::size_t used = measured.used();
    MESSAGE(name(strategy) << ": " << used << " of " << handler::least_alternate_stack_size()
                           << " bytes");
    CHECK(stack.counters().growth_faults > 0);
    CHECK(used > 0);
    CHECK(used < handler::least_alternate_stack_size() / 2);
  }
}

GROWSTACK_SCENARIO("alternate stack used by a report") {
  static MeasuredStack measured(256 * KiB);
  struct sigaction last {};
  last.sa_handler = [](int) {
    std::printf("%zu of %zu\n", measured.used(), handler::least_alternate_stack_size());
    std::fflush(stdout);
    _exit(measured.used() < handler::least_alternate_stack_size() ? 7 : 1);
  };
  sigaction(SIGSEGV, &last, nullptr);
  call(StackOptions{.reserve = MiB}, [] { recurse(std::size_t{1} << 30); });
  return 2;
}

TEST_CASE(
    "a report, unwinder included, fits into the smallest alternate stack that a thread may keep") {
  if (under_thread_sanitizer) {
    skip("instrumented by ThreadSanitizer the report uses more");
    return;
  }
  const Ended ended = run_scenario("alternate stack used by a report");
  MESSAGE("used by a report: " << ended.out);
  CHECK(ended.exit_code == 7);
}

// ---- alternate stacks of others -----------------------------------------------------------------

namespace {

/// An alternate stack of somebody else's, large enough for ours to leave it alone.
class ForeignStack {
 public:
  ForeignStack() {
    const stack_t stack{.ss_sp = memory_, .ss_flags = 0, .ss_size = size};
    sigaltstack(&stack, nullptr);
  }
  [[nodiscard]] void* begin() const { return memory_; }
  void unmap() const { munmap(memory_, size); }
  void forbid() const { mprotect(memory_, size, PROT_NONE); }

 private:
  static constexpr std::size_t size = 64 * KiB;
  void* memory_ = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
};

}  // namespace

GROWSTACK_SCENARIO("a registered stack that is gone") {
  ForeignStack().unmap();
  return call(StackOptions{.reserve = 64 * MiB}, [] { return recurse(20'000); }) == 20'000 ? 7 : 1;
}

GROWSTACK_SCENARIO("a registered stack that may not be touched") {
  const ForeignStack forbidden;
  forbidden.forbid();
  require(handler::attach_thread() == 0, "attach_thread");
  return current_alternate_stack().ss_sp != forbidden.begin() ? 7 : 1;
}

TEST_CASE("an alternate stack that is registered and unmapped is not relied on") {
  if (sanitized) {
    return skip("a sanitizer unmaps the alternate stack that it finds when the thread ends");
  }
  CHECK(run_scenario("a registered stack that is gone").exit_code == 7);
  CHECK(run_scenario("a registered stack that may not be touched").exit_code == 7);
}

namespace {

enum class TakenBy { unmapping, disabling, a_small_one };
TakenBy taken_by;

/// Puts its alternate stack over ours, and takes it away when the thread's variables are destroyed.
struct TakesAway {
  ForeignStack stack;
  TakesAway() = default;
  ~TakesAway() {
    static char too_small[8192];
    const stack_t none{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
    const stack_t small{.ss_sp = too_small, .ss_flags = 0, .ss_size = sizeof too_small};
    if (taken_by != TakenBy::unmapping) {
      sigaltstack(taken_by == TakenBy::disabling ? &none : &small, nullptr);
    }
    stack.unmap();
  }
  TakesAway(const TakesAway&) = delete;
  TakesAway& operator=(const TakesAway&) = delete;
};

/// Goes deep in the destructor of a key, which runs after those of thread_local variables.
int go_deep_in_late_destructor(const Traits& traits) {
  static std::size_t result;
  pthread_key_t key;
  pthread_key_create(&key, [](void*) { result = recurse(20'000); });
  for (const TakenBy by : {TakenBy::unmapping, TakenBy::disabling, TakenBy::a_small_one}) {
    taken_by = by;
    result = 0;
    Thread({.reserve = 64 * MiB, .strategy = traits.strategy}, [&] {
      static thread_local TakesAway variable;
      keep(&variable);
      pthread_setspecific(key, &key);
    }).join();
    if (result != 20'000) {
      return 1;
    }
  }
  return 7;
}

const ScenarioOfEach<go_deep_in_late_destructor> late_destructor("taken away from a destructor");

}  // namespace

STRATEGIES_WHERE(traits.grows_by != 0,
                 "a thread's late destructors may grow the stack although another library took its "
                 "alternate stack away") {
  if (sanitized) {
    return skip("a sanitizer unmaps the alternate stack that it finds when the thread ends");
  }
  CHECK(run_scenario_of("taken away from a destructor", Of::traits).exit_code == 7);
}

GROWSTACK_SCENARIO("the one before is gone") {
  static bool is_disabled = false;
  static pthread_key_t key;
  pthread_key_create(&key, [](void* round) {
    stack_t now{};
    sigaltstack(nullptr, &now);
    is_disabled = (now.ss_flags & SS_DISABLE) != 0;  // the last round counts
    pthread_setspecific(key, static_cast<char*>(round) + 1);
  });
  std::thread([] {
    static char memory[1];
    const std::size_t bytes = 8192;
    void* const small =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const stack_t theirs{.ss_sp = small, .ss_flags = 0, .ss_size = bytes};
    sigaltstack(&theirs, nullptr);
    attach_thread();
    munmap(small, bytes);
    pthread_setspecific(key, memory);
  }).join();
  return is_disabled ? 7 : 1;
}

TEST_CASE("a thread's end puts no alternate stack back that is unmapped by then") {
  if (sanitized) {
    return skip("a sanitizer unmaps the alternate stack that it finds when the thread ends");
  }
  CHECK(run_scenario("the one before is gone").exit_code == 7);
}

// ---- the end of the alternate stack -------------------------------------------------------------

namespace {

void run_away(int) { recurse(100'000); }

/// Not known to the compiler, which would otherwise do as it likes.
volatile std::uintptr_t address_of_nothing = 0;

void check_reported_end(const Ended& ended) {
  CHECK(ended.signal == SIGSEGV);
  CHECK_FALSE(ended.timed_out);
  CHECK(matches(ended.err, "^growstack: the alternate signal stack overflowed: thread [0-9]+ "));
  CHECK(contains(ended.err, "set_alternate_stack_size"));
  CHECK(std::count(ended.err.begin(), ended.err.end(), '\n') == 1);
}

}  // namespace

GROWSTACK_SCENARIO("a handler that runs away") {
  no_core();
  alarm(30);
  struct sigaction action {};
  action.sa_handler = run_away;
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR1, &action, nullptr);
  call(StackOptions{.reserve = MiB}, [] { raise(SIGUSR1); });
  return 1;
}

GROWSTACK_SCENARIO("a forwarded handler that runs away") {
  no_core();
  alarm(30);
  struct sigaction action {};
  action.sa_handler = run_away;
  action.sa_flags = SA_ONSTACK | SA_NODEFER;
  sigaction(SIGSEGV, &action, nullptr);
  call(StackOptions{.reserve = MiB}, [] { raise(SIGSEGV); });
  return 1;
}

TEST_CASE("a signal handler that overflows the alternate stack ends the process, and is told so") {
  if (sanitized) {
    return skip("a sanitizer reports such an overflow itself");
  }
  check_reported_end(run_scenario("a handler that runs away"));
  check_reported_end(run_scenario("a forwarded handler that runs away"));
}

GROWSTACK_SCENARIO("a handler that dereferences a null pointer") {
  no_core();
  struct sigaction action {};
  action.sa_handler = [](int) { *reinterpret_cast<volatile int*>(address_of_nothing) = 1; };
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR1, &action, nullptr);
  call(StackOptions{.reserve = MiB}, [] { raise(SIGUSR1); });
  return 1;
}

GROWSTACK_SCENARIO("ordinary code touches the guard of the alternate stack") {
  no_core();
  call(StackOptions{.reserve = MiB}, [] {});
  stack_t stack{};
  sigaltstack(nullptr, &stack);
  *(static_cast<volatile char*>(stack.ss_sp) - 8) = 1;
  return 1;
}

TEST_CASE("a crash on the alternate stack, or beside it, is not reported as its overflow") {
  if (sanitized) {
    return skip("a sanitizer reports such an access itself");
  }
  for (const char* const scenario : {"a handler that dereferences a null pointer",
                                     "ordinary code touches the guard of the alternate stack"}) {
    CAPTURE(std::string(scenario));
    const Ended ended = run_scenario(scenario);
    CHECK(ended.signal == SIGSEGV);
    CHECK(ended.err.empty());
  }
}
