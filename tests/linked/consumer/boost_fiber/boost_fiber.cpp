// Boost.Fiber on two threads that steal from each other, with a hundred thousand fibers that all
// wait at the same time.
#include <growstack/boost_fiber.hpp>
#include <growstack/growstack.hpp>

#include <boost/fiber/algo/work_stealing.hpp>
#include <boost/fiber/all.hpp>

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <latch>
#include <memory>
#include <thread>
#include <vector>

namespace {

using Stealing = growstack::attached<boost::fibers::algo::work_stealing>;

constexpr std::size_t many = 100'000;

int depth(int n) {
  volatile int here = n;
  return n == 0 ? 0 : depth(n - 1) + (here == n);
}

}  // namespace

int main() {
  std::latch ready(2);
  boost::fibers::mutex mutex;
  boost::fibers::condition_variable go_on;
  bool ended = false;

  std::thread other([&] {
    boost::fibers::use_scheduling_algorithm<Stealing>(2U);
    ready.arrive_and_wait();
    std::unique_lock lock(mutex);
    go_on.wait(lock, [&] { return ended; });
  });
  boost::fibers::use_scheduling_algorithm<Stealing>(2U);
  ready.arrive_and_wait();

  const growstack::pooled_stack_allocator stacks;
  boost::fibers::barrier all_wait_here(many + 1);
  std::atomic<std::size_t> right = 0;
  for (std::size_t i = 0; i < many; ++i) {
    boost::fibers::fiber(boost::fibers::launch::post, std::allocator_arg, stacks, [&, i] {
      all_wait_here.wait();
      const int deep = i % 100 == 0 ? 10'000 : 10;
      right += depth(deep) == deep ? 1 : 0;
      all_wait_here.wait();
    }).detach();
  }
  all_wait_here.wait();
  const std::size_t at_once = stacks.pool().statistics().live;
  all_wait_here.wait();
  {
    const std::lock_guard lock(mutex);
    ended = true;
  }
  go_on.notify_all();
  other.join();
  std::printf("%zu fibers at once, %zu came back right\n", at_once, right.load());
  return at_once == many && right == many ? 0 : 1;
}
