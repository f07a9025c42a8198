// What a fault asks of the symbolizer when memory is refused, and when the symbolizer looks after
// what is kept: fault/idle_request.cpp and threads/idle_looks.cpp against the loop in
// threads/symbolizer.cpp, in every interleaving.
//
// What holds in every execution:
// - A faulting thread waits for no timeout while the symbolizer lives: no wake-up is lost.
// - If something was kept before the fault, the faulting thread is told that it was given back, and
//   it has been.
// - If nothing was kept, the faulting thread does not wait.
// - What is kept is looked after: as long as it is there, the time of the next look is set, and
//   the symbolizer does not sleep longer.
// - That is also so if the keeper takes no lock, but keeps by sequentially consistent operations.
#include "models/faults.hpp"
#include "models/run.hpp"

#include <unistd.h>

#include <ctime>

namespace modelled {

/// Time passes for a thread only while it waits: an hour each time.
inline int answer_clock_gettime(clockid_t, timespec* now) noexcept {
  *now = {.tv_sec = 1 + 3600 * static_cast<time_t>(timeouts_fired[explorer::this_thread()]),
          .tv_nsec = 0};
  return 0;
}
inline int pthread_atfork(void (*)(), void (*)(), void (*)()) noexcept { return 0; }
inline ssize_t write(int, const void*, std::size_t bytes) noexcept {
  return static_cast<ssize_t>(bytes);
}

}  // namespace modelled

#define clock_gettime answer_clock_gettime
#define BOOST_STACKTRACE_USE_NOOP

#include "fault/idle_request.cpp"
#include "threads/fold_frames.cpp"
#include "threads/idle_looks.cpp"
#define private public
#include "threads/symbolizer.hpp"
#undef private
#include "process/idle.cpp"
#include "threads/symbolizer.cpp"

namespace modelled {

namespace handler {
Trace& the_trace() noexcept {
  static Trace trace;
  return trace;
}
void give_alternate_stacks_back() noexcept {}
bool ServiceThread::is_started() const noexcept { return true; }
}  // namespace handler

namespace {

using namespace std::chrono_literals;

/// Memory that is kept although nobody uses it, and memory that a growth could have.
explorer::Mutex keeper_lock;
explorer::Plain<int> kept;
explorer::Atomic<int> available;
explorer::Atomic<int> told;

void give_back() noexcept {
  if (kept == 1) {
    kept = 0;
    available.store(1, std::memory_order_relaxed);
  }
}

void give_all_back() noexcept {
  const ::std::lock_guard lock(keeper_lock);
  give_back();
}

/// Gives back, or finds that it was used a moment ago.
std::chrono::milliseconds give_due_back() noexcept {
  const ::std::lock_guard lock(keeper_lock);
  if (kept == 1 && explorer::choose(2) == 1) {
    return 1s;
  }
  give_back();
  return 0s;
}

constexpr IdleKeeper keeper{give_all_back, give_due_back};

/// A thread that begins to keep something.
void keep() {
  {
    const ::std::lock_guard lock(keeper_lock);
    kept = 1;
  }
  explorer::require(look_after_idle(1s) == 0, "nobody looks after what is kept");
  told.store(1, std::memory_order_release);
}

/// A thread that is refused memory.
void fault_without_memory() {
  const bool is_kept = told.load(std::memory_order_acquire) == 1;
  const std::uint32_t before = looks_at_idle();
  if (available.load(std::memory_order_relaxed) == 1) {
    return;
  }
  const bool given = have_idle_given_back(before);
  explorer::require(!is_kept || given, "something was kept, and is not given back");
  explorer::require(!is_kept || available.load(std::memory_order_relaxed) == 1,
                    "what was given back is not there");
}

void symbolize() {
  explorer::may_wait_for_ever();
  the_symbolizer.run(-1);
}

void set_up_idle() {
  set_up_faults();
  timeouts_of = 0;
  most_timeouts = 1;
  wiped().symbolizer_joinable.store(1, std::memory_order_relaxed);
  new (&kept) explorer::Plain<int>;
  new (&keeper_lock) explorer::Mutex;
  new (&told) explorer::Atomic<int>;
  new (&available) explorer::Atomic<int>;
  set_idle_keeper(keeper);
}

constexpr std::uint64_t symbolizer_of_two = 1;

/// As keep(), give_all_back() and give_due_back(), by a keeper without a lock.
explorer::Atomic<int> held;
void hold() {
  held.store(1);
  static_cast<void>(look_after_idle(1s));
}
void give_all_held_back() noexcept { held.store(0); }
std::chrono::milliseconds give_due_held_back() noexcept {
  held.exchange(0);
  return 0s;
}
constexpr IdleKeeper keeper_without_lock{give_all_held_back, give_due_held_back};

void check_held() {
  explorer::require(held == 0 || wiped().next_look.load(std::memory_order_relaxed) != 0,
                    "something is held, and nobody will look after it");
}

void check_looks() {
  explorer::require(kept == 0 || wiped().next_look.load(std::memory_order_relaxed) != 0,
                    "something is kept, and nobody will look after it");
}

const Ends ends{set_up_idle, check_looks};

TEST_CASE("a fault that is refused memory while something begins to be kept") {
  run({fault_without_memory, keep, symbolize}, ends);
}

TEST_CASE("a fault that is refused memory does not wait if nothing is kept") {
  run({[] { explorer::require(!have_idle_given_back(looks_at_idle()), "nothing was given back"); },
       symbolize},
      ends);
}

TEST_CASE("the symbolizer looks when a look is due, and something is kept again meanwhile") {
  run({[] { keep(), keep(); }, symbolize}, {[] {
                                              set_up_idle();
                                              timeouts_of = 2;
                                            },
                                            check_looks});
}

TEST_CASE("the symbolizer does not sleep longer than until the next look") {
  run({keep, symbolize}, {set_up_idle, [] {
                            check_looks();
                            constexpr long hours_24 = 24 * 3600;
                            explorer::require(
                                kept == 0 || patience[symbolizer_of_two] < hours_24,
                                "the symbolizer sleeps longer than until the next look");
                          }});
}

TEST_CASE("a keeper without a lock begins to keep something while a look is due") {
  run({hold, symbolize}, {[] {
                            set_up_idle();
                            timeouts_of = 2;
                            set_idle_keeper(keeper_without_lock);
                            wiped().next_look.store(1'000'000'000'000, std::memory_order_relaxed);
                          },
                          check_held});
}

/// Something is kept, and others know.
void set_up_kept() {
  set_up_idle();
  kept = 1;
  wiped().next_look.store(1'000'000'000'000, std::memory_order_relaxed);
  told.store(1, std::memory_order_relaxed);
}

TEST_CASE("a look is due while a fault is refused memory") {
  run({fault_without_memory, symbolize}, {[] {
                                            set_up_kept();
                                            timeouts_of = 2;
                                          },
                                          check_looks});
}

TEST_CASE("the symbolizer is asked to end while it is woken") {
  run({[] { explorer::require(the_symbolizer.ask_to_end(), "nobody to ask"); }, keep,
       [] { the_symbolizer.run(-1); }},
      {set_up_idle, {}});
}

}  // namespace
}  // namespace modelled
