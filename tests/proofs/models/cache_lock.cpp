// The lock of a thread's cache (pool/biased_lock.cpp): its owner, which enters with two plain
// stores and a load, against others that seize the lock, in every interleaving.
//
// What holds in every execution, with membarrier(2), without it, and if it is refused from some
// moment on:
// - The owner and another thread are never inside at the same time, and see what the other did.
// - Whoever seizes the lock gets it. The owner never waits.
// - When nobody else has the lock or wants it, the owner enters: at once if others make the
//   barrier, otherwise with care.
// - In a forked child the lock is free, wherever the owner was.
//
// A sleep of a millisecond lets every store become visible: that is what the lock assumes where
// membarrier(2) is refused, and no rule of the language promises it. Here it is a barrier.
#include "explorer/modelled.hpp"
#include "models/say.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <ctime>
#include <new>

#undef SYS_nanosleep
#define SYS_nanosleep 10'000

#define private public
#include "pool/biased_lock.hpp"
#undef private
#include "pool/biased_lock.cpp"

namespace modelled {
namespace {

BiasedLock lock;
explorer::Mutex others;  ///< one of them at a time
explorer::Plain<int> data;
int entered = 0;

long answer(long number, const Arguments& arguments) {
  if (number == SYS_nanosleep) {
    constexpr long enough_for_every_store = 1'000'000;
    if (reinterpret_cast<const timespec*>(arguments[0])->tv_nsec >= enough_for_every_store) {
      explorer::barrier_everywhere();
    } else {
      explorer::yield();
    }
  }
  return 0;
}

void begin(bool others_make_barrier, bool membarrier_works) {
  answer_call = answer;
  has_membarrier = membarrier_works;
  BiasedLock::others_make_barrier.store(others_make_barrier);
  new (&lock) BiasedLock;
  new (&others) explorer::Mutex;
  data = 0;
  entered = 0;
}

void enter_twice() {
  for (int round = 0; round < 2; ++round) {
    if (lock.try_enter()) {
      data = data + 1;
      ++entered;
      lock.leave();
    }
  }
}

void seize() {
  const ::std::lock_guard one_at_a_time(others);
  lock.seize();
  data = data + 1;
  lock.release();
}

void enter_at_once_twice() {
  for (int round = 0; round < 2; ++round) {
    if (lock.try_enter_at_once()) {
      data = data + 1;
      ++entered;
      lock.leave();
    }
  }
}

void require_free(bool others_make_barrier) {
  explorer::require(lock.try_enter(), "nobody has the lock, and its owner cannot enter");
  lock.leave();
  explorer::require(lock.try_enter_at_once() == others_make_barrier,
                    "the owner does not enter in the way that is right by now");
}

void explore(::std::function<void()> set_up, ::std::vector<::std::function<void()>> threads,
             int others_inside, bool others_make_barrier) {
  const explorer::Explored explored =
      explorer::explore({::std::move(set_up),
                         ::std::move(threads),
                         [=] {
                           explorer::require(data == entered + others_inside,
                                             "somebody has not seen what another one did");
                           require_free(others_make_barrier);
                         },
                         {}});
  modelled::say_and_check(explored);
}

}  // namespace

TEST_CASE("the owner and others are never inside at once, if others make the barrier") {
  explore([] { begin(true, true); }, {enter_twice, seize, seize}, 2, true);
}

TEST_CASE("an owner that enters only at once does not keep others waiting either") {
  explore([] { begin(true, true); }, {enter_at_once_twice, seize, seize}, 2, true);
}

TEST_CASE("the owner and others are never inside at once, if the owner makes the barrier") {
  explore([] { begin(false, false); }, {enter_twice, seize, seize}, 2, false);
}

TEST_CASE("the owner and others are never inside at once, if membarrier is refused from now on") {
  explore([] { begin(true, false); }, {enter_twice, seize, seize}, 2, false);
}

TEST_CASE("in a forked child the lock is free, wherever its owner was") {
  explore([] { begin(true, true); },
          {[] {
             explorer::may_die();
             static_cast<void>(lock.try_enter());
             explorer::die();
           },
           [] {
             if (explorer::has_died(0)) {
               lock.reset();
               lock.seize();
               data = data + 1;
               lock.release();
             } else {
               data = data + 1;
             }
           }},
          1, true);
}

}  // namespace modelled
