// A deep call on a stack of its own, and calls on stacks of a pool.
#include <growstack/growstack.hpp>

#include <cstdio>
#include <thread>

int depth(int n) {
  volatile int here = n;
  return n == 0 ? 0 : depth(n - 1) + (here == n);
}

/// Runs calls on stacks of a pool in another thread. Returns the sum of the depths.
int depth_on_pooled_stacks(growstack::StackPool& pool) {
  int reached = 0;
  std::thread([&] {
    for (int i = 0; i < 100; ++i) {
      growstack::Stack stack = pool.acquire("pooled");
      reached += growstack::call(stack, depth, 1'000);
    }
  }).join();
  return reached;
}

/// The same on any stack, which it leaves when there is no room.
int ensured_depth(int n) {
  volatile int here = n;
  return n == 0 ? 0 : growstack::ensure_stack(32 << 10, ensured_depth, n - 1) + (here == n);
}

int main() {
  const int reached = growstack::call({.reserve = 1ULL << 30, .name = "deep"}, depth, 10'000'000);
  growstack::StackPool pool;
  const int pooled = depth_on_pooled_stacks(pool);
  int ensured = 0;
  std::thread([&] { ensured = ensured_depth(1'000'000); }).join();
  std::printf("%d %d %d\n", reached, pooled, ensured);
  return reached == 10'000'000 && pooled == 100'000 && ensured == 1'000'000 ? 0 : 1;
}
