// Memory that is given back, and figures that are asked for, while others use both.
#include <growstack/growstack.hpp>

#include "proofs/soak/activities/list.hpp"
#include "proofs/soak/counts.hpp"
#include "proofs/soak/last_words.hpp"
#include "proofs/soak/world.hpp"

#include <memory>

namespace growstack::soak {
namespace {

/// Runs body(pool) while the pool cannot end.
template <class Body>
void with_a_pool(Random& random, const Body& body) {
  const auto taken = world->pools.take(random);
  if (!taken) {
    return;
  }
  world->pools.put(*taken);
  const std::shared_lock lock((*taken)->lock);
  if ((*taken)->pool) {
    body(*(*taken)->pool);
  }
}

}  // namespace

void trim_something(Worker& worker) {
  if (worker.random.one_in(3)) {
    worker.note("trims all that is kept");
    trim();
  } else {
    worker.note("trims a pool");
    with_a_pool(worker.random, [](StackPool& pool) { pool.trim(); });
  }
  counts.trims.fetch_add(1, std::memory_order_relaxed);
}

void look_around(Worker& worker) {
  static_cast<void>(process_counters());
  static_cast<void>(handler::counters());
  with_a_pool(worker.random, [](const StackPool& pool) {
    const PoolStatistics figures = pool.statistics();
    if (figures.high_water.deepest > pool.reserve()) {
      wrong("a stack of %zu bytes was %zu deep", pool.reserve(), figures.high_water.deepest);
    }
    static_cast<void>(pool.resident());
    static_cast<void>(pool.high_water_by_name());
  });
  if (const auto bounds = current_stack_bounds()) {
    if (bounds->limit < bounds->floor || bounds->base < bounds->limit) {
      wrong("the limit is outside of the stack");
    }
  }
  counts.looks.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace growstack::soak
