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

int main() {
  const int reached = growstack::call({.reserve = 1ULL << 30, .name = "deep"}, depth, 10'000'000);
  growstack::StackPool pool;
  const int pooled = depth_on_pooled_stacks(pool);
  std::printf("%d %d\n", reached, pooled);
  return reached == 10'000'000 && pooled == 100'000 ? 0 : 1;
}
