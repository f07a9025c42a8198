// Boost.Fiber on growable stacks: very many fibers, on whichever thread they run.
#include <doctest/doctest.h>

#include <growstack/boost_fiber.hpp>
#include <growstack/growstack.hpp>

#include "support/alternate_stack.hpp"
#include "support/descend.hpp"
#include "support/pools.hpp"
#include "support/sanitized.hpp"
#include "support/scenario.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <boost/fiber/algo/round_robin.hpp>
#include <boost/fiber/algo/shared_work.hpp>
#include <boost/fiber/algo/work_stealing.hpp>
#include <boost/fiber/all.hpp>

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <latch>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace growstack;
using namespace growstack::testing;
namespace fibers = boost::fibers;

namespace {

/// Returns the thread that runs here. Compilers assume that std::this_thread::get_id() stays the
/// same in a function.
pid_t thread_here() { return static_cast<pid_t>(syscall(SYS_gettid)); }

/// Starts two threads. The first makes a fiber and keeps busy until that fiber has moved. The
/// second has nothing to do except to take it. Returns how many bytes were wrong after the fiber
/// went deep at its new place.
template <class Algorithm, class... Args>
std::size_t descend_where_stolen(const Args&... args) {
  std::atomic<bool> moved = false;
  std::atomic<bool> done = false;
  std::atomic<std::size_t> wrong = 1;
  std::latch both_are_workers(2);
  std::thread second([&] {
    fibers::use_scheduling_algorithm<attached<Algorithm>>(args...);
    both_are_workers.arrive_and_wait();
    while (!done) {
      boost::this_fiber::sleep_for(std::chrono::milliseconds(1));
    }
  });
  std::thread first([&] {
    fibers::use_scheduling_algorithm<attached<Algorithm>>(args...);
    both_are_workers.arrive_and_wait();
    const pid_t home = thread_here();
    const pooled_stack_allocator allocator;
    // This fiber is in front of the other one in the queue, so that the other one can be stolen. If
    // this one is stolen first it must wait, because a worker that has something to run takes
    // nothing.
    fibers::promise<void> has_moved;
    fibers::fiber busy(fibers::launch::post, std::allocator_arg, allocator,
                       [&, told = has_moved.get_future()] {
                         while (!moved) {
                           if (thread_here() == home) {
                             std::this_thread::yield();
                           } else {
                             told.wait();
                           }
                         }
                       });
    fibers::fiber fiber(fibers::launch::post, std::allocator_arg, allocator, [&] {
      while (thread_here() == home) {
        boost::this_fiber::yield();
      }
      moved = true;
      has_moved.set_value();
      wrong = descend(4 * MiB);
    });
    fiber.join();
    busy.join();
    done = true;
  });
  first.join();
  second.join();
  return wrong;
}

}  // namespace

TEST_CASE("fibers of Boost.Fiber go deep, in turns") {
  const pooled_stack_allocator allocator(64 * MiB);
  std::size_t wrong = 0;
  std::vector<fibers::fiber> all;
  for (int i = 0; i < 10; ++i) {
    all.emplace_back(std::allocator_arg, allocator, [&] {
      for (std::size_t depth = 64 * KiB; depth <= 4 * MiB; depth *= 4) {
        wrong += descend(depth);
        boost::this_fiber::yield();
      }
    });
  }
  for (fibers::fiber& each : all) {
    each.join();
  }
  CHECK(wrong == 0);
  CHECK(allocator.pool().statistics().live == 0);
}

TEST_CASE("a fiber that has just been stolen by another thread recurses deep there") {
  CHECK(descend_where_stolen<fibers::algo::work_stealing>(2U) == 0);
}

TEST_CASE("a fiber of a shared queue recurses deep on whichever thread takes it") {
  CHECK(descend_where_stolen<fibers::algo::shared_work>() == 0);
}

GROWSTACK_SCENARIO("worker that is not attached") {
  no_core();
  std::atomic<bool> made = false;
  std::atomic<bool> done = false;
  std::thread second([&] {
    take_alternate_stack_away();
    fibers::use_scheduling_algorithm<fibers::algo::shared_work>();  // without attached<>
    while (!done) {
      boost::this_fiber::sleep_for(std::chrono::milliseconds(1));
    }
  });
  fibers::use_scheduling_algorithm<fibers::algo::shared_work>();
  const pid_t home = thread_here();
  fibers::fiber fiber(fibers::launch::post, std::allocator_arg, pooled_stack_allocator(), [&] {
    while (thread_here() == home) {
      boost::this_fiber::yield();
    }
    made = true;
    descend(MiB);
    done = true;
  });
  while (!made) {
    std::this_thread::yield();
  }
  fiber.join();
  second.join();
  return 0;
}

TEST_CASE("without growstack::attached a worker dies when a fiber of another thread grows there") {
  const Ended ended = run_scenario("worker that is not attached");
  CHECK(ended.signal == SIGSEGV);
  CHECK(ended.err == "");
}

// ---- many ---------------------------------------------------------------------------------------

namespace {

constexpr std::size_t many = 100'000;

}  // namespace

TEST_CASE(
    "a hundred thousand fibers wait at once under default limits, each has a guard, and each can "
    "go deep") {
  constexpr std::size_t needed = 2048 * MiB;
  if (sanitized) {
    return skip("a sanitizer's shadow memory would be as large again");
  }
  if (!supported(Strategy::guard_markers) && !supported(Strategy::userfault_signal)) {
    return skip("each stack costs two mappings here, and vm.max_map_count is reached before");
  }
  if (available_memory() < needed) {
    return skip("this takes up to 2 GiB of memory, and there are " +
                std::to_string(available_memory() / MiB) + " MiB");
  }
  const pooled_stack_allocator allocator;  // 8 MiB each
  const std::size_t mappings_before = mapping_count();

  fibers::mutex mutex;
  fibers::condition_variable all_may_go;
  bool go = false;
  std::vector<const void*> places;  // an address in each stack
  places.reserve(many);
  std::size_t ended = 0;
  std::size_t wrong = 0;
  std::mt19937 random(1);
  std::vector<fibers::fiber> all;
  all.reserve(many);
  for (std::size_t index = 0; index < many; ++index) {
    const bool goes_deep = random() % 200 == 0;
    all.emplace_back(std::allocator_arg, allocator, [&, goes_deep] {
      std::unique_lock lock(mutex);
      places.push_back(&lock);
      all_may_go.wait(lock, [&] { return go; });
      lock.unlock();
      if (goes_deep) {
        wrong += descend(MiB);
      }
      ++ended;
    });
  }
  while (places.size() < many) {
    boost::this_fiber::yield();
  }

  const PoolStatistics figures = allocator.pool().statistics();
  CHECK(figures.live == many);
  CHECK(mapping_count() - mappings_before < 100);
  CHECK(number_in("/proc/sys/vm/max_map_count") < 2 * many);  // otherwise this proves little

  Probe probe;
  std::size_t guarded = 0;
  for (const void* const place : places) {
    const auto bounds = stack_bounds(place);
    guarded += bounds && !probe.readable(address_of(bounds->floor) - 1) &&
                       !probe.readable(address_of(bounds->guard))
                   ? 1
                   : 0;
  }
  CHECK(guarded == many);

  {
    const std::lock_guard lock(mutex);
    go = true;
  }
  all_may_go.notify_all();
  for (fibers::fiber& each : all) {
    each.join();
  }
  CHECK(ended == many);
  CHECK(wrong == 0);
}
