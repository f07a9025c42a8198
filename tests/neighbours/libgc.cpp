// libgc, the collector of Boehm, Demers and Weiser, which looks for pointers on every stack. A
// collection must find all objects in use, and must not make any stack grow.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/handler/handler.hpp>
#include <growstack/handler/signals.hpp>

#include "neighbours/scanned_stacks.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <boost/context/fiber.hpp>
#include <boost/context/preallocated.hpp>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

using namespace growstack;
using namespace growstack::testing;

namespace {

void start_collector() {
  if (GC_is_init_called() == 0) {
    GC_INIT();
    GC_allow_register_threads();
    scanned::start();
  }
}

/// Collects, and writes over what the collector took for free.
void collect() {
  GC_gcollect();
  for (int i = 0; i < 2000; ++i) {
    std::memset(GC_MALLOC(sizeof(int)), 0xee, sizeof(int));
  }
}

/// Has an object in each of some frames while then() runs. Returns how many were lost.
template <class Then>
[[gnu::noinline]] int with_objects(int frames, const Then& then) {
  int* volatile mine = static_cast<int*>(GC_MALLOC(sizeof(int)));
  *mine = frames;
  const int deeper = frames == 0 ? (then(), 0) : with_objects(frames - 1, then);
  return deeper + (*mine == frames ? 0 : 1);
}

/// Lets a registered thread collect all the time while body() runs.
template <class Body>
void while_another_thread_collects(const Body& body) {
  std::atomic<int> collections{0};
  const std::jthread collector([&collections](const std::stop_token& stop) {
    GC_stack_base base{};
    GC_get_stack_base(&base);
    GC_register_my_thread(&base);
    while (!stop.stop_requested()) {
      collect();
      ++collections;
    }
    GC_unregister_my_thread();
  });
  while (collections < 100) {
    body();
  }
}

constexpr int many = 3000;

}  // namespace

TEST_CASE(
    "a collection inside a call finds the objects on the stack of the thread and of each call") {
  start_collector();
  Stack outer({.reserve = 64 * MiB});
  Stack inner({.reserve = 64 * MiB});
  int lost = 0;
  for (int round = 0; round < 10; ++round) {
    lost += with_objects(100, [&] {
      scanned::call(outer, [&] {
        lost += with_objects(many, [&] {
          collect();
          scanned::call(inner, [&] { lost += with_objects(many, [] { collect(); }); });
        });
      });
      collect();
    });
  }
  CHECK(lost == 0);
}

TEST_CASE("a collection by another thread finds the objects of calls that begin and end") {
  start_collector();
  Stack stack({.reserve = 64 * MiB});
  int lost = 0;
  while_another_thread_collects([&] {
    lost +=
        with_objects(10, [&] { scanned::call(stack, [&] { lost += with_objects(many, [] {}); }); });
  });
  CHECK(lost == 0);
}

namespace {

/// Has objects on its own stack, and is seen by the collector without any recipe.
int mutate_on_thread() {
  std::atomic<int> lost{0};
  while_another_thread_collects([&lost] {
    Thread mutator({.reserve = 64 * MiB}, [&lost] {
      GC_stack_base base{};
      GC_get_stack_base(&base);
      GC_register_my_thread(&base);
      for (int round = 0; round < 20; ++round) {
        lost += with_objects(many, [] {});
      }
      GC_unregister_my_thread();
    });
  });
  return lost;
}

}  // namespace

TEST_CASE("a collection finds the objects on the stack of a growstack::Thread") {
  start_collector();
  CHECK(mutate_on_thread() == 0);
}

namespace {

/// A fiber of Boost.Context that has objects in many frames while it is suspended.
class Suspended {
 public:
  explicit Suspended(Stack stack) : stack_(std::move(stack)) {
    const boost::context::stack_context whole{.size = stack_.reserved(), .sp = stack_.base()};
    fiber_ = boost::context::fiber(std::allocator_arg,
                                   boost::context::preallocated(whole.sp, whole.size, whole),
                                   Borrowed{}, [this](boost::context::fiber&& starter) {
                                     starter_ = std::move(starter);
                                     const scanned::Arrived here(stack_);
                                     lost_ = with_objects(many, [this] { suspend(); });
                                     ended_ = true;
                                     return std::move(starter_);
                                   });
  }
  Suspended(const Suspended&) = delete;
  Suspended& operator=(const Suspended&) = delete;

  void resume() {
    scanned::leave([this] { fiber_ = std::move(fiber_).resume(); });
  }

  [[nodiscard]] bool well() const { return ended_ && lost_ == 0; }
  [[nodiscard]] const Stack& stack() const { return stack_; }

 private:
  struct Borrowed {
    void deallocate(boost::context::stack_context&) {}
  };

  void suspend() {
    scanned::leave([this] { starter_ = std::move(starter_).resume(); });
  }

  Stack stack_;
  boost::context::fiber starter_;
  boost::context::fiber fiber_;
  int lost_ = 0;
  bool ended_ = false;
};

}  // namespace

TEST_CASE(
    "a collection finds the objects of suspended fibers, and makes none of their stacks grow") {
  start_collector();
  StackPool pool({.reserve = 8 * MiB});
  std::vector<std::unique_ptr<Suspended>> fibers;
  for (int i = 0; i < 50; ++i) {
    fibers.push_back(std::make_unique<Suspended>(pool.acquire()));
    fibers.back()->resume();
  }

  const std::size_t committed = pool.statistics().committed;
  const handler::Counters before = handler::counters();
  for (int round = 0; round < 10; ++round) {
    collect();
  }
  CHECK(pool.statistics().committed == committed);
  CHECK(handler::counters().growth == before.growth);
  CHECK(handler::counters().remote_growth == before.remote_growth);
  CHECK(handler::counters().foreign == before.foreign);

  for (const std::unique_ptr<Suspended>& each : fibers) {
    each->resume();
    CHECK(each->well());
  }
}

// ---- the signal by which libgc stops threads ----------------------------------------------------

namespace {

/// Adds SA_ONSTACK to the handlers that lack it, except to the one of libgc that notes its own
/// stack pointer.
int add_onstack_but_for(int left_out) {
  sigset_t signals = handler::handlers_without_onstack();
  if (sigismember(&signals, GC_get_suspend_signal()) != 1) {
    return 1;
  }
  if (left_out != 0) {
    sigdelset(&signals, left_out);
  }
  return handler::add_onstack(signals);
}

}  // namespace

GROWSTACK_SCENARIO("SA_ONSTACK without libgc's signal") {
  start_collector();
  const Stack first;
  return add_onstack_but_for(GC_get_suspend_signal()) == 0 && mutate_on_thread() == 0 ? 7 : 1;
}

TEST_CASE("SA_ONSTACK for all handlers but libgc's own lets it find the objects of a thread") {
  CHECK(run_scenario("SA_ONSTACK without libgc's signal").exit_code == 7);
}

GROWSTACK_SCENARIO("SA_ONSTACK with libgc's signal") {
  no_core();
  start_collector();
  const Stack first;
  return add_onstack_but_for(0) == 0 && mutate_on_thread() == 0 ? 7 : 1;
}

TEST_CASE("SA_ONSTACK for the handler by which libgc stops threads hides their objects from it") {
  CHECK(run_scenario("SA_ONSTACK with libgc's signal").exit_code != 7);
}
