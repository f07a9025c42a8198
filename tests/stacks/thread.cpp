// Threads whose own stack grows: growstack::Thread, and create_thread() for those who use pthreads.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/pages.hpp>

#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/injected_error.hpp"
#include "support/pools.hpp"
#include "support/recursion.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <functional>
#include <future>
#include <latch>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

using namespace growstack;
using namespace growstack::testing;
using namespace std::chrono_literals;

namespace {

/// Waits until the condition is true, because threads end in their own time. Returns false after
/// half a minute.
template <class Condition>
bool comes_to_pass(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) {
      return false;
    }
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

}  // namespace

// ---- Thread -------------------------------------------------------------------------------------

EVERY_STRATEGY("a thread runs on a growable stack of its own, as deep as it needs") {
  Stack stack({.reserve = 4 * MiB, .strategy = Of::strategy});
  const Stack& where = stack;
  void* const base = where.base();
  bool on_it = false;
  std::size_t wrong = 1;
  Thread thread(std::move(stack), [&] {
    const auto here = current_stack_bounds();
    on_it = Of::strategy == Strategy::heap || (here && here->base == base);
    wrong = descend(3 * MiB);
  });
  thread.join();
  CHECK(on_it);
  CHECK(wrong == 0);
}

TEST_CASE("what a thread calls gets copies of the arguments, and references by std::ref") {
  std::string seen;
  auto owned = std::make_unique<int>(7);
  Thread([&seen](const std::string& text,
                 std::unique_ptr<int> number) { seen = text + std::to_string(*number); },
         "number ", std::move(owned))
      .join();
  CHECK(seen == "number 7");

  int counted = 0;
  Thread([](int& count) { ++count; }, std::ref(counted)).join();
  CHECK(counted == 1);
}

TEST_CASE("the destructor asks the thread to stop and waits for it") {
  std::atomic<bool> was_asked = false;
  {
    const Thread thread([&](const std::stop_token& token) {
      while (!token.stop_requested()) {
        std::this_thread::sleep_for(1ms);
      }
      was_asked = true;
    });
    CHECK(thread.joinable());
    CHECK(thread.get_stop_token().stop_possible());
  }
  CHECK(was_asked);
}

TEST_CASE(
    "assigning to a Thread ends the thread that was there, "
    "and a moved-from Thread is not joinable") {
  std::atomic<int> stopped = 0;
  const auto until_asked = [&](const std::stop_token& token) {
    while (!token.stop_requested()) {
      std::this_thread::sleep_for(1ms);
    }
    ++stopped;
  };
  Thread one(until_asked);
  Thread other(until_asked);
  const Thread::id id_of_other = other.get_id();
  one = std::move(other);
  CHECK(stopped == 1);
  CHECK(one.get_id() == id_of_other);
  CHECK_FALSE(other.joinable());  // NOLINT(bugprone-use-after-move): that is the question
  CHECK_FALSE(other.get_stop_token().stop_possible());
  swap(one, other);
  CHECK(other.get_id() == id_of_other);
  CHECK(other.request_stop());
  other.join();
  CHECK(stopped == 2);
  CHECK(Thread().get_id() == std::thread::id());
}

TEST_CASE("get_id() returns the id that the thread has for itself") {
  std::promise<std::thread::id> told;
  const Thread thread([&] { told.set_value(std::this_thread::get_id()); });
  CHECK(told.get_future().get() == thread.get_id());
}

TEST_CASE("to join or detach an object without a thread is an error") {
  Thread none;
  CHECK(contains(error_of([&] { none.join(); }), "no thread to join"));
  CHECK(contains(error_of([&] { none.detach(); }), "no thread to detach"));
}

TEST_CASE("a thread that joins itself gets an error, and goes on") {
  if (under_thread_sanitizer) {
    return skip(
        "ThreadSanitizer takes a thread that was joined "
        "for one that has ended, whatever came of it");
  }
  std::promise<Thread*> itself;
  std::string told;
  Thread thread([&, future = itself.get_future()]() mutable {
    told = error_of([self = future.get()] { self->join(); });
  });
  itself.set_value(&thread);
  thread.join();
  CHECK(contains(told, "cannot join itself"));
}

TEST_CASE("the kernel knows a thread by the first 15 bytes of the name that it was given") {
  char name[16] = {};
  Thread({.name = "a name of more than 15 bytes"}, [&] {
    pthread_getname_np(pthread_self(), name, sizeof name);
  }).join();
  CHECK(std::string(name) == "a name of more ");
}

TEST_CASE("the C library knows the bounds of a growable thread stack") {
  Stack stack({.reserve = 64 * MiB});
  void* const floor = stack.floor();
  const std::size_t reserved = stack.reserved();
  void* told = nullptr;
  std::size_t size = 0;
  Thread(std::move(stack), [&] {
    pthread_attr_t attributes;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &told, &size);
    pthread_attr_destroy(&attributes);
  }).join();
  CHECK(told == floor);
  CHECK(size == reserved);
}

TEST_CASE("a thread's stack can be asked while the thread runs") {
  std::latch is_deep(1);
  std::latch asked(1);
  const Thread thread([&] {
    descend(5 * MiB);
    is_deep.count_down();
    asked.wait();
  });
  is_deep.wait();
  CHECK(thread.stack().high_water_mark() > 5 * MiB);
  CHECK(thread.stack().resident() > 0);
  asked.count_down();
}

TEST_CASE("a stack of a pool is back in the pool when its thread has been joined") {
  StackPool pool({.reserve = 16 * MiB});
  for (int round = 0; round < 3; ++round) {
    std::size_t wrong = 1;
    Thread thread(pool.acquire("thread"), [&] { wrong = descend(MiB); });
    CHECK(pool.statistics().live == 1);
    thread.join();
    CHECK(wrong == 0);
    CHECK(pool.statistics().live == 0);
  }
  CHECK(pool.statistics().high_water.deepest > MiB);
}

TEST_CASE("threads that came and went leave nothing behind") {
  const auto one = [] { Thread([] { descend(MiB); }).join(); };
  one();
  const std::size_t mappings_before = mapping_count();
  const std::size_t stacks_before = process_counters().stacks;
  for (int i = 0; i < 50; ++i) {
    one();
  }
  CHECK(process_counters().stacks == stacks_before);
  if (!sanitized) {
    CHECK(mapping_count() <= mappings_before + 2);  // the kernel merges and splits neighbours
  }
}

TEST_CASE("the stack of a detached thread goes when it has ended and another one is made") {
  const std::size_t stacks_before = process_counters().stacks;
  std::latch go(1);
  std::latch gone(3);
  for (int i = 0; i < 3; ++i) {
    Thread thread([&] {
      go.wait();
      descend(MiB);
      gone.count_down();
    });
    thread.detach();
    CHECK_FALSE(thread.joinable());
  }
  CHECK(process_counters().stacks == stacks_before + 3);
  go.count_down();
  gone.wait();
  CHECK(comes_to_pass([&] {
    Thread([] {}).join();
    return process_counters().stacks == stacks_before;
  }));
}

// ---- how threads end ----------------------------------------------------------------------------

namespace {

struct DeepAtTheEnd {
  std::atomic<int>* ended;
  ~DeepAtTheEnd() {
    if (descend(2 * MiB) == 0) {
      ++*ended;
    }
  }
};

}  // namespace

TEST_CASE("destructors of thread-local objects may go deep") {
  std::atomic<int> ended = 0;
  Thread([&] {
    static thread_local std::unique_ptr<DeepAtTheEnd> at_the_end;
    at_the_end.reset(new DeepAtTheEnd{&ended});
  }).join();
  CHECK(ended == 1);
}

TEST_CASE("destructors of pthread keys may go deep, twice") {
  static std::atomic<int> ended = 0;
  static pthread_key_t key;
  REQUIRE(pthread_key_create(&key, [](void* again) {
            if (descend(2 * MiB) == 0) {
              ++ended;
            }
            if (again == &key) {
              pthread_setspecific(key, &ended);
            }
          }) == 0);
  Thread([] { pthread_setspecific(key, &key); }).join();
  CHECK(ended == 2);
  pthread_key_delete(key);
}

namespace {

struct CountsEnd {
  std::atomic<std::size_t>& ended;
  ~CountsEnd() { ++ended; }
};

// Not constant, because a compiler warns of a function that never returns.
volatile bool always = true;

[[gnu::noinline]] void exit_below(std::size_t frames, std::atomic<std::size_t>& ended) {
  const CountsEnd object{ended};
  if (frames > 0) {
    return exit_below(frames - 1, ended);
  }
  if (always) {
    pthread_exit(nullptr);
  }
}

}  // namespace

TEST_CASE("pthread_exit from deep below runs the destructors on the way") {
  // ThreadSanitizer's own stack of calls has room for fewer.
  constexpr std::size_t frames = under_thread_sanitizer ? 10'000 : 100'000;
  std::atomic<std::size_t> ended = 0;
  Thread([&] { exit_below(frames, ended); }).join();
  CHECK(ended == frames + 1);
}

TEST_CASE("a thread can be cancelled while it is deep") {
  std::atomic<std::size_t> ended = 0;
  std::latch is_deep(1);
  Thread thread([&] {
    below_frames(10'000, [&] {
      const CountsEnd object{ended};
      is_deep.count_down();
      while (always) {
        std::this_thread::sleep_for(10ms);  // a cancellation point
      }
    });
  });
  is_deep.wait();
  CHECK(pthread_cancel(thread.native_handle()) == 0);
  thread.join();
  CHECK(ended == 1);
}

GROWSTACK_SCENARIO("exception leaves a thread") {
  no_core();
  Thread([] { throw std::runtime_error("not caught"); }).join();
  return 0;
}

TEST_CASE("an exception that leaves a thread ends the process") {
  const Ended ended = run_scenario("exception leaves a thread");
  CHECK(ended.signal == SIGABRT);
  CHECK(contains(ended.err, "not caught"));
}

GROWSTACK_SCENARIO("thread overflows") {
  no_core();
  Thread({.reserve = MiB, .name = "doomed thread"}, [] { descend(2 * MiB); }).join();
  return 0;
}

TEST_CASE("a thread that overflows its stack is named in the report") {
  const Ended ended = run_scenario("thread overflows");
  CHECK(ended.signal == SIGSEGV);
  CHECK(contains(ended.err, "stack overflow"));
  CHECK(contains(ended.err, "\"doomed thread\""));
}

// ---- bad input, bad days ------------------------------------------------------------------------

TEST_CASE("a stack that is smaller than the C library allows is refused with the least size") {
  const std::string told = error_of([] { Thread({.reserve = 4 * KiB}, [] {}); });
  CHECK(contains(told, "StackOptions::reserve must be at least"));
  CHECK(least_thread_stack() % handler::page_size() == 0);
  std::size_t wrong = 1;
  Thread({.reserve = least_thread_stack() + 256 * KiB}, [&] { wrong = descend(4 * KiB); }).join();
  CHECK(wrong == 0);
}

TEST_CASE("if no thread can be started, the error says so and nothing is left behind") {
  const std::size_t stacks_before = process_counters().stacks;
  auto held = std::make_shared<int>(1);
  InjectedError::in_a_thread([&](InjectedError& injected) {
    Thread([] {}).join();  // makes what is made only once
    injected.refuse(SYS_clone3, EAGAIN);
    injected.refuse(SYS_clone, EAGAIN);
    CHECK(contains(error_of([&] { Thread([held] {}); }),
                   "cannot start a thread: pthread_create: EAGAIN: no more threads"));
  });
  CHECK(held.use_count() == 1);
  CHECK(process_counters().stacks == stacks_before);
}

TEST_CASE("a child of fork can start threads, and forgets the detached ones of its parent") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer does not let a forked child start threads");
  }
  const std::size_t stacks_before = process_counters().stacks;
  std::latch done(1);
  Thread detached([&] { done.wait(); });
  detached.detach();
  CHECK(end_of_child([&] {
          std::size_t wrong = 1;
          Thread([&] { wrong = descend(MiB); }).join();
          return wrong == 0 && process_counters().stacks == stacks_before ? 0 : 1;
        }) == 0);
  done.count_down();
}

namespace {

/// Threads that wait, one for each way in which a Thread can end or be left.
struct Waiting {
  Thread joined;
  Thread destroyed;
  Thread assigned;
  Thread detached;
  Thread on_pooled;

  Waiting(StackPool& pool, std::latch& done)
      : joined([&] { done.wait(); }),
        destroyed([&] { done.wait(); }),
        assigned([&] { done.wait(); }),
        detached([&] { done.wait(); }),
        on_pooled(pool.acquire(), [&] { done.wait(); }) {}

  /// Ends all of them, in a forked child that has none of these threads.
  void end() {
    joined.join();
    static_cast<void>(Thread(std::move(destroyed)));
    assigned = Thread();
    detached.detach();
    on_pooled.join();
  }
};

/// Makes threads of both kinds. Returns the number of bytes that were wrong on their stacks.
std::size_t descend_in_new_threads() {
  std::atomic<std::size_t> wrong = 0;
  std::latch ended(1);
  Thread detached([&] {
    wrong += descend(MiB);
    ended.count_down();
  });
  detached.detach();
  Thread([&] { wrong += descend(MiB); }).join();
  ended.wait();
  return wrong;
}

/// Forks from where it is called, and lets child and grandchild end half of the parent's threads
/// each. Returns 0, or a number for what went wrong.
int end_threads_in_children() {
  StackPool pool({.reserve = 16 * MiB});
  const std::size_t singles_before = process_counters().stacks - stacks_of(pool.statistics());
  std::latch done(1);
  std::latch detached_ended(1);
  Thread detached([&] {
    done.wait();
    detached_ended.count_down();
  });
  detached.detach();
  Waiting for_child(pool, done);
  Waiting for_grandchild(pool, done);
  const int end = end_of_child([&] {
    for_child.end();
    if (descend_in_new_threads() != 0) {
      return 1;
    }
    Waiting of_child(pool, done);
    const int of_grandchild = end_of_child([&] {
      of_child.end();
      for_grandchild.end();
      if (descend_in_new_threads() != 0) {
        return 2;
      }
      Thread([] {}).join();  // releases what detached threads left, but for the last
      const std::size_t singles = process_counters().stacks - stacks_of(pool.statistics());
      return pool.statistics().live == 0 && singles <= singles_before + 1 ? 0 : 3;
    });
    _exit(of_grandchild);  // its own threads still wait
  });
  done.count_down();
  detached_ended.wait();
  return end;
}

bool skip_threads_after_fork() {
  if (sanitized) {
    skip("a sanitizer's own locks are not free in a child that is forked while threads start");
  }
  return sanitized;
}

}  // namespace

TEST_CASE("a child of fork ends the threads of its parent at once, and so does its own child") {
  if (skip_threads_after_fork()) {
    return;
  }
  SUBCASE("the main thread forks") { CHECK(end_threads_in_children() == 0); }
  SUBCASE("a thread of the standard library forks") {
    int end = -1;
    std::thread([&] { end = end_threads_in_children(); }).join();
    CHECK(end == 0);
  }
  SUBCASE("a Thread forks") {
    int end = -1;
    Thread([&] { end = end_threads_in_children(); }).join();
    CHECK(end == 0);
  }
  SUBCASE("a Thread on a stack of a pool forks") {
    StackPool pool({.reserve = 16 * MiB});
    int end = -1;
    Thread(pool.acquire(), [&] { end = end_threads_in_children(); }).join();
    CHECK(end == 0);
  }
  SUBCASE("a detached Thread forks") {
    std::promise<void> is_detached;
    std::promise<int> end;
    Thread thread([&] {
      is_detached.get_future().wait();
      end.set_value(end_threads_in_children());
    });
    thread.detach();
    is_detached.set_value();
    CHECK(end.get_future().get() == 0);
  }
}

TEST_CASE("a detached thread that forked keeps its stack in the child, also one of a pool") {
  if (skip_threads_after_fork()) {
    return;
  }
  StackPool pool({.reserve = 16 * MiB});
  std::promise<void> is_detached;
  std::promise<int> end;
  Thread thread(pool.acquire(), [&] {
    is_detached.get_future().wait();
    end.set_value(end_of_child([&] {
      const auto mine = current_stack_bounds();
      Thread([] {}).join();
      Stack other = pool.acquire();
      return mine && !mine->contains(other.floor()) && call(other, [] { return descend(MiB); }) == 0
                 ? 0
                 : 1;
    }));
  });
  thread.detach();
  is_detached.set_value();
  CHECK(end.get_future().get() == 0);
}

TEST_CASE("a thread that forked runs on in the child, and can be joined there") {
  if (skip_threads_after_fork()) {
    return;
  }
  std::promise<Thread*> itself;
  int status = -1;
  Thread forks([&] {
    Thread* const self = itself.get_future().get();
    const pid_t child = fork();
    if (child == 0) {
      alarm(30);
      std::atomic<bool>& is_at_its_end = *new std::atomic<bool>(false);
      Thread([self, &is_at_its_end] {
        self->join();
        _exit(is_at_its_end && !self->joinable() ? 0 : 1);
      }).detach();
      std::this_thread::sleep_for(20ms);  // so that a join that does not wait is seen
      is_at_its_end = true;
      return;
    }
    waitpid(child, &status, 0);
  });
  itself.set_value(&forks);
  forks.join();
  CHECK(status == 0);
}

TEST_CASE("a child of fork may release the stack of a thread that create_thread started") {
  if (skip_threads_after_fork()) {
    return;
  }
  std::latch done(1);
  Stack stack({.reserve = 64 * MiB});
  pthread_t thread{};
  REQUIRE(create_thread(
              &thread, stack, nullptr,
              [](void* latch) -> void* {
                static_cast<std::latch*>(latch)->wait();
                return nullptr;
              },
              &done) == 0);
  CHECK(end_of_child([&] {
          stack = Stack();
          return call(stack, [] { return descend(MiB); }) == 0 ? 0 : 1;
        }) == 0);
  done.count_down();
  pthread_join(thread, nullptr);
}

// ---- create_thread: for those who use pthreads --------------------------------------------------

TEST_CASE("create_thread is pthread_create on a growable stack, with its result") {
  const Stack stack({.reserve = 64 * MiB});
  pthread_t thread{};
  int argument = 20;
  REQUIRE(create_thread(
              &thread, stack, nullptr,
              [](void* given) -> void* {
                *static_cast<int*>(given) += descend(10 * MiB) == 0 ? 1 : 0;
                return given;
              },
              &argument) == 0);
  void* result = nullptr;
  REQUIRE(pthread_join(thread, &result) == 0);
  CHECK(result == &argument);
  CHECK(argument == 21);
  CHECK(stack.high_water_mark() > 10 * MiB);
}

TEST_CASE("attributes are used, except those of the stack") {
  const Stack stack({.reserve = 64 * MiB});
  cpu_set_t allowed;
  REQUIRE(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
  std::size_t last = 0;
  for (std::size_t processor = 0; processor < CPU_SETSIZE; ++processor) {
    last = CPU_ISSET(processor, &allowed) ? processor : last;
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(last, &one);
  pthread_attr_t attributes;
  REQUIRE(pthread_attr_init(&attributes) == 0);
  REQUIRE(pthread_attr_setaffinity_np(&attributes, sizeof one, &one) == 0);
  REQUIRE(pthread_attr_setstacksize(&attributes, 128 * KiB) == 0);

  pthread_t thread{};
  cpu_set_t seen;
  REQUIRE(create_thread(
              &thread, stack, &attributes,
              [](void* set) -> void* {
                descend(10 * MiB);
                sched_getaffinity(0, sizeof(cpu_set_t), static_cast<cpu_set_t*>(set));
                return nullptr;
              },
              &seen) == 0);
  REQUIRE(pthread_join(thread, nullptr) == 0);
  CHECK(CPU_EQUAL(&seen, &one));
  std::size_t size = 0;
  CHECK(pthread_attr_getstacksize(&attributes, &size) == 0);
  CHECK(size == 128 * KiB);  // the caller's attributes are as they were
  pthread_attr_destroy(&attributes);
}

TEST_CASE("create_thread refuses a detached thread and a stack that is too small") {
  const Stack stack({.reserve = MiB});
  const auto nothing = [](void*) -> void* { return nullptr; };
  pthread_t thread{};
  pthread_attr_t attributes;
  REQUIRE(pthread_attr_init(&attributes) == 0);
  REQUIRE(pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0);
  CHECK(create_thread(&thread, stack, &attributes, nothing, nullptr) == EINVAL);
  pthread_attr_destroy(&attributes);
  const Stack small({.reserve = 4 * KiB});
  CHECK(create_thread(&thread, small, nullptr, nothing, nullptr) == EINVAL);
}

TEST_CASE("a stack can carry one thread after the other") {
  Stack stack({.reserve = 64 * MiB});
  for (int round = 0; round < 3; ++round) {
    pthread_t thread{};
    std::size_t wrong = 1;
    REQUIRE(create_thread(
                &thread, stack, nullptr,
                [](void* told) -> void* {
                  *static_cast<std::size_t*>(told) = descend(4 * MiB);
                  return nullptr;
                },
                &wrong) == 0);
    REQUIRE(pthread_join(thread, nullptr) == 0);
    CHECK(wrong == 0);
    CHECK(stack.trim() == std::error_code());
  }
}
