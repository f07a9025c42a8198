// Recipe: growable stacks for runtimes that ask for a stack by its size and know it by its lowest
// address. marl's Allocator has this shape, and so has PhotonLibOS's pair of functions.
#include <doctest/doctest.h>

#include <growstack/growstack.hpp>

#include "support/descend.hpp"
#include "support/scenario.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

namespace {

/// A pool for each size that is asked for.
class PoolsBySize {
 public:
  void* allocate(std::size_t size) { return pool_of(size).acquire().release(); }

  /// Gives a stack back. A stack knows its pool.
  static void free(void* lowest) { static_cast<void>(growstack::Stack::adopt(lowest)); }

  [[nodiscard]] growstack::StackPool& pool_of(std::size_t size) {
    const std::lock_guard lock(mutex_);
    std::unique_ptr<growstack::StackPool>& pool = pools_[size];
    if (pool == nullptr) {
      // userfault_signal and pipe_helper would do as well, because they keep to the size that was
      // asked for. guard_markers takes up to 2 MiB more, and there is no way to tell these
      // interfaces.
      pool = std::make_unique<growstack::StackPool>(growstack::PoolOptions{
          .reserve = size, .strategy = growstack::Strategy::in_handler, .name = "runtime"});
    }
    return *pool;
  }

 private:
  std::mutex mutex_;
  std::map<std::size_t, std::unique_ptr<growstack::StackPool>> pools_;
};

// ---- an interface like marl's -------------------------------------------------------------------

struct Request {
  std::size_t size = 0;
  std::size_t alignment = 0;
  bool use_guards = false;
};

struct Allocation {
  void* pointer = nullptr;
  Request request;
};

class Allocator {
 public:
  virtual ~Allocator() = default;
  virtual Allocation allocate(const Request& request) = 0;
  virtual void free(const Allocation& allocation) = 0;
};

/// A stack always has a guard, whatever was asked for, and begins and ends with a whole page.
class GrowableStacks final : public Allocator {
 public:
  Allocation allocate(const Request& request) override {
    return {pools_.allocate(request.size), request};
  }
  void free(const Allocation& allocation) override { PoolsBySize::free(allocation.pointer); }

 private:
  PoolsBySize pools_;
};

// ---- an interface like PhotonLibOS's ------------------------------------------------------------

struct StackFunctions {
  void* (*allocate)(void* object, std::size_t size);
  void (*deallocate)(void* object, void* lowest, std::size_t size);
  void* object;
};

StackFunctions functions_of(PoolsBySize& pools) {
  return {.allocate =
              [](void* object, std::size_t size) {
                return static_cast<PoolsBySize*>(object)->allocate(size);
              },
          .deallocate = [](void*, void* lowest, std::size_t) { PoolsBySize::free(lowest); },
          .object = &pools};
}

// ---- what a runtime does with one ---------------------------------------------------------------

/// Runs a context on the stack, as a runtime does that knows nothing of growstack. Its thread is
/// attached.
std::size_t descend_on(void* lowest, std::size_t size, std::size_t depth) {
  struct Visit {
    ucontext_t here{};
    ucontext_t there{};
    std::size_t depth = 0;
    std::size_t wrong = 1;
  };
  static thread_local Visit visit;
  visit = {};
  visit.depth = depth;
  getcontext(&visit.there);
  visit.there.uc_stack = {.ss_sp = lowest, .ss_flags = 0, .ss_size = size};
  visit.there.uc_link = &visit.here;
  makecontext(
      &visit.there, [] { visit.wrong = growstack::testing::descend(visit.depth); }, 0);
  swapcontext(&visit.here, &visit.there);
  return visit.wrong;
}

constexpr std::size_t MiB = std::size_t{1} << 20;

}  // namespace

TEST_CASE("an allocator with requests and allocations hands out growable stacks") {
  GrowableStacks stacks;
  for (int round = 0; round < 2; ++round) {
    const Allocation large =
        stacks.allocate({.size = 16 * MiB, .alignment = 16, .use_guards = true});
    const Allocation small = stacks.allocate({.size = MiB, .alignment = 16, .use_guards = true});
    CHECK(descend_on(large.pointer, 16 * MiB, 12 * MiB) == 0);
    CHECK(descend_on(small.pointer, MiB, MiB / 2) == 0);
    stacks.free(small);
    stacks.free(large);
  }
}

TEST_CASE("a pair of functions with an object hands out growable stacks") {
  PoolsBySize pools;
  const StackFunctions functions = functions_of(pools);
  void* const lowest = functions.allocate(functions.object, 16 * MiB);
  CHECK(descend_on(lowest, 16 * MiB, 12 * MiB) == 0);
  CHECK(pools.pool_of(16 * MiB).statistics().live == 1);
  functions.deallocate(functions.object, lowest, 16 * MiB);
  CHECK(pools.pool_of(16 * MiB).statistics().live == 0);
}
