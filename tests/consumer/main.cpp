#include <growstack/growstack.hpp>

#include <cstdio>

int depth(int n) {
  volatile int here = n;
  return n == 0 ? 0 : depth(n - 1) + (here == n);
}

int main() {
  const int reached = growstack::call({.reserve = 1ULL << 30, .name = "deep"}, depth, 10'000'000);
  std::printf("%d\n", reached);
  return reached == 10'000'000 ? 0 : 1;
}
