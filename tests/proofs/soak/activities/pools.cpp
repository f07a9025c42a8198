// Pools that come and go while their stacks are in use.
#include <growstack/growstack.hpp>

#include "proofs/soak/activities/list.hpp"
#include "proofs/soak/counts.hpp"
#include "proofs/soak/use_stack.hpp"
#include "proofs/soak/world.hpp"

#include <memory>
#include <mutex>

namespace growstack::soak {

void change_pools(Worker& worker) {
  Random& random = worker.random;
  constexpr std::size_t most_pools = 6;
  if (world->pools.size() >= most_pools) {
    if (const auto house = world->pools.take(random)) {
      worker.note("ends a pool");
      const std::unique_lock lock((*house)->lock);
      (*house)->pool.reset();
    }
  }
  const PoolOptions options = some_pool_options(random);
  worker.note("makes a pool of strategy", static_cast<std::size_t>(options.strategy));
  world->pools.put(std::make_shared<PoolHouse>(options));
  counts.pools.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace growstack::soak
