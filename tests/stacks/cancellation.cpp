// A deferred cancellation that is pending while a thread uses stacks. It must wait for a
// cancellation point of the thread's own, because inside a noexcept function or a destructor it
// would end the process.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/memory_resource.hpp>

#include "support/descend.hpp"
#include "support/each_strategy.hpp"
#include "support/forked.hpp"
#include "support/limits.hpp"
#include "support/pools.hpp"
#include "support/scenario.hpp"
#include "support/units.hpp"

#include <pthread.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

using namespace growstack;
using namespace growstack::testing;

namespace {

/// From here on a cancellation of the calling thread is pending.
void cancel_this_thread() { pthread_cancel(pthread_self()); }

struct Canceled {
  const std::function<void()>& body;
  bool reached_its_end = false;
};

/// Runs body() in a thread that then comes to a cancellation point. Returns 0 if the thread ended
/// as a cancelled one there, 1 if it was cancelled within body(), and 2 if it was not cancelled.
int cancellation_of(const std::function<void()>& body) {
  Canceled canceled{body};
  pthread_t thread{};
  pthread_create(
      &thread, nullptr,
      [](void* given) -> void* {
        auto& told = *static_cast<Canceled*>(given);
        told.body();
        told.reached_its_end = true;
        pthread_testcancel();
        return nullptr;
      },
      &canceled);
  void* result = nullptr;
  pthread_join(thread, &result);
  return result != PTHREAD_CANCELED ? 2 : canceled.reached_its_end ? 0 : 1;
}

/// Returns how a child ends in which body() is run so.
int end_of(const std::function<void()>& body) {
  return end_of_child([&] { return cancellation_of(body); });
}

/// Lets a stack that has grown be used with a cancellation pending.
int end_of_use(Strategy strategy, const std::function<void(Stack&)>& use) {
  return end_of([&] {
    Stack stack({.reserve = 4 * MiB, .strategy = strategy});
    call(stack, [] { descend(3 * MiB); });
    cancel_this_thread();
    use(stack);
  });
}

int end_of_pool_use(Strategy strategy, const std::function<void(StackPool&)>& use) {
  return end_of([&] {
    StackPool pool(options_for(strategy));
    {
      std::vector<Stack> stacks = acquire(pool, 3);
      call(stacks[0], [] { descend(500 * KiB); });
    }
    use(pool);
  });
}

void wait_until_asked(const std::stop_token& token) {
  while (!token.stop_requested()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace

EVERY_STRATEGY("a pending cancellation does not act while a stack is asked how deep it is") {
  CHECK(end_of_use(Of::strategy, [](Stack& stack) {
          static_cast<void>(stack.limit());
          static_cast<void>(stack.committed());
          static_cast<void>(stack.resident());
          static_cast<void>(stack.high_water_mark());
          static_cast<void>(stack.counters());
          static_cast<void>(process_counters());
          static_cast<void>(stack_bounds(stack.floor()));
        }) == 0);
}

EVERY_STRATEGY("a pending cancellation does not act while a stack is trimmed") {
  CHECK(end_of_use(Of::strategy, [](Stack& stack) { static_cast<void>(stack.trim()); }) == 0);
  CHECK(end_of_use(Of::strategy, [](Stack& stack) {
          static_cast<void>(stack.trim_below(static_cast<char*>(stack.base()) - 64 * KiB));
        }) == 0);
  CHECK(end_of_use(Of::strategy, [](Stack& stack) {
          call(stack, [] {
            descend(3 * MiB);
            static_cast<void>(Stack::trim_current());
          });
        }) == 0);
}

EVERY_STRATEGY("a pending cancellation does not act while a stack is made and ends") {
  CHECK(end_of_use(Of::strategy, [](Stack& stack) { stack = Stack(std::move(stack)); }) == 0);
  CHECK(end_of_use(Of::strategy, [](Stack& stack) {
          stack = Stack({.reserve = 4 * MiB, .strategy = Of::strategy});
        }) == 0);
  CHECK(end_of_use(Of::strategy, [](Stack&) { static_cast<void>(supported(Of::strategy)); }) == 0);
  CHECK(end_of_use(Of::strategy, [](Stack& stack) { const Stack ended(std::move(stack)); }) == 0);
}

EVERY_STRATEGY("a pending cancellation does not act while the limit that was hit is looked up") {
  CHECK(end_of_use(Of::strategy, [](Stack&) {
          const SoftLimit limit(RLIMIT_AS, 16 * GiB);
          try {
            const Stack too_large({.reserve = 1024 * GiB, .strategy = Of::strategy});
          } catch (const std::system_error&) {  // that is what it is asked for
          }
        }) == 0);
}

EVERY_POOL("a pending cancellation does not act while a stack of a pool comes back") {
  CHECK(end_of_pool_use(Of::strategy, [](StackPool& pool) {
          Stack stack = pool.acquire();
          call(stack, [] { descend(500 * KiB); });
          cancel_this_thread();
          const Stack ended(std::move(stack));
        }) == 0);
  CHECK(end_of_pool_use(Of::strategy, [](StackPool& pool) {
          Stack stack = pool.acquire();
          call(stack, [] { descend(500 * KiB); });
          cancel_this_thread();
          stack = Stack(std::move(stack));
          stack = pool.acquire("another one");
        }) == 0);
}

EVERY_POOL("a pending cancellation does not act while a pool is asked, is trimmed, and ends") {
  CHECK(end_of_pool_use(Of::strategy, [](StackPool& pool) {
          cancel_this_thread();
          static_cast<void>(pool.statistics());
          static_cast<void>(pool.high_water_by_name());
          static_cast<void>(pool.resident());
          acquire(pool, 40);
          pool.trim();
        }) == 0);
  CHECK(end_of_pool_use(Of::strategy, [](StackPool& pool) {
          cancel_this_thread();
          const StackPool ended(std::move(pool));
        }) == 0);
  CHECK(end_of_pool_use(Of::strategy, [](StackPool& pool) {
          Stack outlives = pool.acquire();
          cancel_this_thread();
          pool = StackPool(options_for(Of::strategy));
          static_cast<void>(Stack(std::move(outlives)));
        }) == 0);
}

STRATEGIES_WHERE(traits.own_address_space && (traits.growth_events || !traits.limit_moves),
                 "a pending cancellation does not act while a memory resource is used") {
  CHECK(end_of([] {
          memory_resource memory({.reserve = 4 * MiB, .strategy = Of::strategy});
          cancel_this_thread();
          static_cast<void>(memory.allocate(3 * MiB));
          static_cast<void>(memory.resident());
          memory.release();
          static_cast<void>(memory.trim());
        }) == 0);
}

EVERY_STRATEGY("a pending cancellation does not act while a Thread ends, is replaced or detached") {
  const auto waits = [] {
    return Thread({.reserve = 4 * MiB, .strategy = Of::strategy},
                  [](const std::stop_token& token) { wait_until_asked(token); });
  };
  CHECK(end_of([&] {
          const Thread thread = waits();
          cancel_this_thread();
        }) == 0);
  CHECK(end_of([&] {
          Thread thread = waits();
          cancel_this_thread();
          thread = Thread();
        }) == 0);
  CHECK(end_of([&] {
          Thread thread = waits();
          cancel_this_thread();
          thread.request_stop();
          thread.detach();
        }) == 0);
}

TEST_CASE("a Thread that is joined by a cancelled thread is ended by its destructor") {
  CHECK(end_of([] {
          Thread thread([](const std::stop_token& token) { wait_until_asked(token); });
          cancel_this_thread();
          thread.join();  // a cancellation point, as pthread_join(3) is
        }) == 1);
}

namespace {

int make_first_stack(const Traits& traits) {
  return cancellation_of([&] {
    cancel_this_thread();
    Stack stack({.reserve = 4 * MiB, .strategy = traits.strategy});
    call(stack, [] { descend(3 * MiB); });
  });
}

int make_first_pool(const Traits& traits) {
  return cancellation_of([&] {
    cancel_this_thread();
    StackPool pool(options_for(traits.strategy));
    Stack stack = pool.acquire();
    call(stack, [] { descend(500 * KiB); });
  });
}

const ScenarioOfEach<make_first_stack> first_stack("first stack with a cancellation pending");
const ScenarioOfEach<make_first_pool> first_pool("first pool with a cancellation pending");

}  // namespace

EVERY_STRATEGY("a thread with a cancellation pending makes the first stack of a strategy") {
  CHECK(run_scenario_of("first stack with a cancellation pending", Of::traits).exit_code == 0);
}

EVERY_POOL("a thread with a cancellation pending makes the first pool of a strategy") {
  CHECK(run_scenario_of("first pool with a cancellation pending", Of::traits).exit_code == 0);
}
