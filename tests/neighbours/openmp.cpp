// OpenMP. The threads of a team run on stacks of their own, which OpenMP makes, also if the team
// begins in a call. Each of them can call.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>
#include <growstack/stack_pool.hpp>

#include "support/recursion.hpp"
#include "support/units.hpp"

#include <omp.h>

#include <atomic>
#include <cstddef>

using namespace growstack;
using namespace growstack::testing;

namespace {

constexpr int threads = 4;
constexpr int pieces = 64;

/// Lets a team work, each piece in a call. Returns how many pieces were done well.
int work_of_a_team(StackPool& pool) {
  std::atomic<int> done{0};
#pragma omp parallel for num_threads(threads) schedule(dynamic)
  for (int piece = 0; piece < pieces; ++piece) {
    Stack stack = pool.acquire("piece");
    done += call(stack, recurse, deep / 10) == deep / 10 ? 1 : 0;
  }
  return done;
}

}  // namespace

TEST_CASE("each thread of an OpenMP team can call") {
  StackPool pool({.reserve = 64 * MiB});
  CHECK(work_of_a_team(pool) == pieces);
  CHECK(work_of_a_team(pool) == pieces);
}

TEST_CASE("a team can begin deep in a call, and its first thread goes on there") {
  StackPool pool({.reserve = 64 * MiB});
  int done = 0;
  std::size_t frames = 0;
  call({.reserve = 256 * MiB},
       [&] { frames = below_frames(deep / 10, [&] { done = work_of_a_team(pool); }); });
  CHECK(done == pieces);
  CHECK(frames == deep / 10);
}

TEST_CASE("a team can begin on a growstack::Thread") {
  StackPool pool({.reserve = 64 * MiB});
  int done = 0;
  Thread({.reserve = 64 * MiB}, [&] { done = work_of_a_team(pool); }).join();
  CHECK(done == pieces);
}
