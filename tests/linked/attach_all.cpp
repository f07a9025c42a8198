// growstack::attach_all: every thread of a program that links it is attached, whoever starts the
// thread.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/stack_allocator.hpp>

#include "support/descend.hpp"
#include "support/forked.hpp"
#include "support/injected_error.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <boost/context/fiber.hpp>

#include <pthread.h>
#include <sys/syscall.h>
#include <threads.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <system_error>
#include <thread>

using namespace growstack;
using namespace growstack::testing;
namespace context = boost::context;

namespace {

/// Makes a fiber that any thread can resume.
context::fiber fiber_that_goes_deep(std::size_t& wrong) {
  return {std::allocator_arg, stack_allocator(16 * MiB), [&wrong](context::fiber&& back) {
            wrong = descend(8 * MiB);
            return std::move(back);
          }};
}

}  // namespace

TEST_CASE("a thread of the standard library is attached from its first instruction") {
  std::size_t wrong = 1;
  context::fiber fiber = fiber_that_goes_deep(wrong);
  std::thread([&] { fiber = std::move(fiber).resume(); }).join();
  CHECK(wrong == 0);
}

TEST_CASE("threads of std::async, and of pthread_create with attributes, are attached, too") {
  std::size_t wrong = 1;
  context::fiber fiber = fiber_that_goes_deep(wrong);
  std::async(std::launch::async, [&] { fiber = std::move(fiber).resume(); }).get();
  CHECK(wrong == 0);

  wrong = 1;
  fiber = fiber_that_goes_deep(wrong);
  pthread_attr_t attributes;
  REQUIRE(pthread_attr_init(&attributes) == 0);
  REQUIRE(pthread_attr_setstacksize(&attributes, MiB / 4) == 0);
  pthread_t thread{};
  REQUIRE(pthread_create(
              &thread, &attributes,
              [](void* given) -> void* {
                auto& there = *static_cast<context::fiber*>(given);
                there = std::move(there).resume();
                return given;
              },
              &fiber) == 0);
  void* result = nullptr;
  REQUIRE(pthread_join(thread, &result) == 0);
  pthread_attr_destroy(&attributes);
  CHECK(result == &fiber);
  CHECK(wrong == 0);
}

TEST_CASE("a thread of thrd_create is attached, too") {
  if (under_thread_sanitizer) {
    return skip("ThreadSanitizer knows nothing of thrd_create, and its threads crash");
  }
  std::size_t wrong = 1;
  context::fiber fiber = fiber_that_goes_deep(wrong);
  thrd_t other{};
  REQUIRE(thrd_create(
              &other,
              [](void* given) {
                auto& there = *static_cast<context::fiber*>(given);
                there = std::move(there).resume();
                return 7;
              },
              &fiber) == thrd_success);
  int ended = 0;
  REQUIRE(thrd_join(other, &ended) == thrd_success);
  CHECK(ended == 7);
  CHECK(wrong == 0);
}

TEST_CASE(
    "a thread that is started with every signal blocked can grow, and other signals stay blocked") {
  std::size_t wrong = 1;
  context::fiber fiber = fiber_that_goes_deep(wrong);
  sigset_t all;
  sigset_t before;
  sigset_t seen;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread([&] {
    fiber = std::move(fiber).resume();
    pthread_sigmask(SIG_SETMASK, nullptr, &seen);
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  thread.join();
  CHECK(wrong == 0);
  CHECK(sigismember(&seen, SIGTERM) == 1);
  CHECK(sigismember(&seen, SIGSEGV) == 0);
}

TEST_CASE("the library's own threads stay as they are, with every signal blocked") {
  // Starts the helper.
  static_cast<void>(call({.reserve = 16 * MiB}, [] { return descend(8 * MiB); }));
  std::size_t of_ours = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream status(task.path() / "status");
    bool ours = false;
    for (std::string line; std::getline(status, line);) {
      ours = ours || line.starts_with("Name:\tstack-");
      if (ours && line.starts_with("SigBlk:")) {
        ++of_ours;
        // Bit 10 is SIGSEGV.
        CHECK((std::stoull(line.substr(7), nullptr, 16) >> (SIGSEGV - 1) & 1U) == 1);
      }
    }
  }
  CHECK(of_ours >= 2);
}

TEST_CASE(
    "if there is no memory for a thread's signal stack, the thread is not started and there is an "
    "error") {
  if (sanitized) {
    return skip("sanitizers need mmap when a thread starts");
  }
  InjectedError::in_a_thread([](InjectedError& injected) {
    std::thread([] {}).join();  // leaves its stack in the C library's cache
    trim();                     // and its signal stack nowhere
    injected.refuse(SYS_mmap, ENOMEM);
    CHECK(error_of([] { std::thread([] {}).join(); }) != "");
  });
}

TEST_CASE("the signal stack of a thread that has ended goes to the next one") {
  if (sanitized) {
    return skip("a sanitizer gives each thread a signal stack of its own");
  }
  const auto signal_stack = [] {
    stack_t had{};
    std::thread([&] { sigaltstack(nullptr, &had); }).join();
    return had.ss_sp;
  };
  void* const first = signal_stack();
  CHECK(first != nullptr);
  CHECK(signal_stack() == first);
}

namespace {

void* do_nothing(void* given) { return given; }
int do_nothing_in_c(void* /*given*/) { return 0; }

void start_thread() {
  pthread_t thread{};
  if (pthread_create(&thread, nullptr, do_nothing, nullptr) != 0 ||
      pthread_join(thread, nullptr) != 0) {
    _exit(4);
  }
}

void start_c_thread() {
  thrd_t thread{};
  if (thrd_create(&thread, do_nothing_in_c, nullptr) != thrd_success ||
      thrd_join(thread, nullptr) != thrd_success) {
    _exit(4);
  }
}

}  // namespace

GROWSTACK_SCENARIO("threads at every distance from a limit") {
  no_core();
  // At the first call the dynamic linker resolves names, with larger frames.
  start_thread();
  start_c_thread();
  int bad = 0;
  for (std::size_t distance = 128; distance <= 8 * KiB; distance += 16) {
    // One kind only, because the first one commits the room that another one needs.
    const auto start = distance % 32 == 0 ? start_thread : start_c_thread;
    bad += end_of_child([&] {
             Stack stack({.reserve = MiB, .strategy = Strategy::in_handler});
             const auto limit = reinterpret_cast<std::uintptr_t>(stack.limit());
             call(stack, [&] { at_stack_pointer(limit + distance, start); });
             return 7;
           }) == 7
               ? 0
               : 1;
  }
  return bad == 0 ? 7 : 1;
}

TEST_CASE("any thread can be started from a growable stack, at every distance from its limit") {
  if (sanitized) {
    return skip("a sanitizer's own frames need more than is left above the limit");
  }
  CHECK(run_scenario("threads at every distance from a limit").exit_code == 7);
}
