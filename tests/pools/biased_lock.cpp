// The lock of a thread's cache: its owner enters almost for nothing, and others pay.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/init_order.hpp>

#include "pool/biased_lock.hpp"
#include "support/forked.hpp"
#include "support/pools.hpp"
#include "support/supervised.hpp"
#include "support/system_call_filter.hpp"

#include <sys/syscall.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <thread>

using namespace growstack;
using namespace growstack::testing;

namespace {

/// Made before the static objects of a program are, as the locks of a pool with static storage may
/// be.
[[gnu::init_priority(handler::init_dependents + 1)]] BiasedLock made_early;

bool has_barriers() { return BiasedLock().try_enter_at_once(); }

/// Refuses membarrier(2) to all threads of this process from now on.
void refuse_barriers() {
  auto* const filter = new SystemCallFilter;  // to free it would change what the test looks at
  filter->add(SCMP_ACT_ERRNO(EPERM), SYS_membarrier);
  filter->install_for_all_threads();
}

}  // namespace

TEST_CASE("a lock that is made while the program is loaded is as cheap as any other") {
  CHECK(made_early.try_enter_at_once() == has_barriers());
  made_early.leave();
}

TEST_CASE("who seizes the lock keeps its owner out, until the release") {
  BiasedLock lock;
  lock.seize();
  CHECK_FALSE(lock.try_enter());
  lock.release();
  REQUIRE(lock.try_enter());
  lock.leave();
}

TEST_CASE(
    "who waits for the owner sleeps, so that a real-time thread cannot keep it from running") {
  CHECK(end_of_child([] {
          BiasedLock lock;
          if (!lock.try_enter()) {
            return 1;
          }
          // The owner is in the middle of something. It goes on only when the other one sleeps.
          bool slept = false;
          supervise(
              {{.number = SYS_nanosleep}, {.number = SYS_clock_nanosleep}},
              [&](const seccomp_data&) {
                slept = true;
                lock.leave();
                return Answer{};
              },
              [&] {
                lock.seize();
                lock.release();
              });
          return slept ? 0 : 2;
        }) == 0);
}

TEST_CASE("if barriers are refused later, the owner of each lock makes them from then on") {
  if (!has_barriers()) {
    return skip("membarrier(2) does not work here");
  }
  CHECK(end_of_child([] {
          BiasedLock first;
          BiasedLock second;
          refuse_barriers();
          for (BiasedLock* const lock : {&first, &second, &first}) {
            lock->seize();
            if (lock->try_enter()) {
              return 1;  // although it is seized
            }
            lock->release();
            if (lock->try_enter_at_once()) {
              return 2;  // and nobody makes a barrier
            }
            if (!lock->try_enter()) {
              return 3;
            }
            lock->leave();
          }
          return BiasedLock().try_enter_at_once() ? 4 : 0;
        }) == 0);
}

TEST_CASE("a pool that is trimmed all the time serves its threads, also if barriers are refused") {
  for (const bool refused : {false, true}) {
    CHECK(end_of_child([&] {
            StackPool pool(options_for(Strategy::in_handler));
            std::atomic<bool> over = false;
            std::atomic<std::size_t> lost = 0;
            const auto use = [&](unsigned char mark) {
              while (!over) {
                const Stack stack = pool.acquire();
                warm_byte(stack) = mark;
                std::atomic_signal_fence(std::memory_order_seq_cst);
                lost += warm_byte(stack) != mark ? 1U : 0U;
              }
            };
            std::thread one([&] { use(1); });
            std::thread other([&] { use(2); });
            for (int round = 0; round < 2000; ++round) {
              pool.trim();
              if (refused && round == 200) {
                refuse_barriers();
              }
            }
            over = true;
            one.join();
            other.join();
            return lost == 0 && pool.statistics().live == 0 ? 0 : 1;
          }) == 0);
  }
}
