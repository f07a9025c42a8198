// The alternate signal stack of each thread, and how much of it the handler uses.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/classify.hpp>
#include <growstack/handler/pages.hpp>

#include "support/alternate_stack.hpp"
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
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

using namespace growstack;
using namespace growstack::testing;

namespace {

stack_t current_alternate_stack() {
  stack_t current{};
  sigaltstack(nullptr, &current);
  return current;
}

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
