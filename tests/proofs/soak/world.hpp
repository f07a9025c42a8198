// All that the workers share.
#pragma once

#include <growstack/stack.hpp>
#include <growstack/stack_allocator.hpp>
#include <growstack/stack_pool.hpp>

#include "proofs/soak/gate.hpp"
#include "proofs/soak/settings.hpp"
#include "proofs/soak/territory.hpp"
#include "proofs/soak/worker.hpp"
#include "support/units.hpp"

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <utility>
#include <vector>

namespace growstack::soak {

class ParkedFiber;

/// Things that nobody uses at the moment: whoever takes one has it alone.
template <class Thing>
class Shelf {
 public:
  std::optional<Thing> take(Random& random) {
    const std::lock_guard lock(mutex);
    if (things.empty()) {
      return std::nullopt;
    }
    std::swap(things[random.below(things.size())], things.back());
    std::optional<Thing> taken(std::move(things.back()));
    things.pop_back();
    return taken;
  }
  void put(Thing thing) {
    const std::lock_guard lock(mutex);
    things.push_back(std::move(thing));
  }
  [[nodiscard]] std::size_t size() {
    const std::lock_guard lock(mutex);
    return things.size();
  }

  std::mutex mutex;
  std::vector<Thing> things;
};

/// A pool, and who keeps it from ending while one of its stacks is given back.
struct PoolHouse {
  explicit PoolHouse(const PoolOptions& options) : pool(std::in_place, options) {}
  std::shared_mutex lock;
  std::optional<StackPool> pool;
};

/// A stack in use, and its place in the territory.
class OwnedStack {
 public:
  OwnedStack(Stack stack, std::shared_ptr<PoolHouse> house, Territory& territory);
  ~OwnedStack();
  OwnedStack(const OwnedStack&) = delete;
  OwnedStack& operator=(const OwnedStack&) = delete;

  Stack& stack() { return *stack_; }
  /// Returns false if a touch may be so far from the limit that it is no growth.
  [[nodiscard]] bool may_be_visited() const { return stack_->reserved() <= 8 * testing::MiB; }
  /// Nobody has left anything there.
  bool fresh = false;

 private:
  std::optional<Stack> stack_;  ///< empty while it is being ended
  std::shared_ptr<PoolHouse> house_;
  Place place_;
};

/// The stacks that may be touched by any thread. Whoever ends one takes it out before.
struct Visits {
  std::shared_mutex mutex;
  std::vector<OwnedStack*> stacks;
};

/// Memory that nobody may use, and whose protection nobody may change: says so at its end.
class ForbiddenMemory {
 public:
  explicit ForbiddenMemory(std::size_t bytes);
  ~ForbiddenMemory();
  ForbiddenMemory(ForbiddenMemory&& other) noexcept
      : begin_(std::exchange(other.begin_, 0)), bytes_(other.bytes_) {}
  ForbiddenMemory& operator=(ForbiddenMemory&& other) noexcept {
    std::swap(begin_, other.begin_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

 private:
  std::uintptr_t begin_ = 0;  ///< 0: moved-from
  std::size_t bytes_;
};

struct World {
  explicit World(Settings settings);
  ~World();

  const Settings settings;
  std::deque<Worker> workers;  ///< the last ones are no targets of signals
  Gate gate;
  Territory territory;
  Shelf<std::unique_ptr<OwnedStack>> stacks;
  Shelf<std::unique_ptr<ParkedFiber>> fibers;
  Shelf<std::shared_ptr<PoolHouse>> pools;
  Shelf<pooled_stack_allocator> allocators;
  Shelf<ForbiddenMemory> mappings;
  Visits visits;
  std::atomic<bool> season_ends{false};
};

/// The one world.
extern World* world;

}  // namespace growstack::soak
