// Fibers of Boost.Context that go from thread to thread.
#include <growstack/growstack.hpp>
#include <growstack/stack_allocator.hpp>

#include "proofs/soak/activities/list.hpp"
#include "proofs/soak/counts.hpp"
#include "proofs/soak/fiber.hpp"
#include "proofs/soak/use_stack.hpp"
#include "proofs/soak/world.hpp"

#include <cstdint>
#include <memory>
#include <optional>

namespace growstack::soak {
namespace {

std::unique_ptr<ParkedFiber> new_fiber(Random& random) {
  const std::uint64_t seed = random.next();
  if (random.one_in(4)) {
    StackOptions options = some_options(random);
    if (options.strategy == Strategy::heap) {
      options.strategy = Strategy::in_handler;  // no address leads to a stack of malloc's
    }
    return std::make_unique<ParkedFiber>(stack_allocator(options), seed);
  }
  // A pool lives as long as its last allocator, so each fiber may be the last one of its pool.
  constexpr std::size_t most_allocators = 4;
  std::optional<pooled_stack_allocator> chosen;
  if (world->allocators.size() >= most_allocators) {
    chosen = world->allocators.take(random);
  }
  if (!chosen) {
    PoolOptions options = some_pool_options(random);
    options.most_stacks = SIZE_MAX;
    options.budget = SIZE_MAX;
    chosen.emplace(options);
    counts.pools.fetch_add(1, std::memory_order_relaxed);
  }
  if (!random.one_in(64)) {
    world->allocators.put(*chosen);
  }
  return std::make_unique<ParkedFiber>(*chosen, seed);
}

}  // namespace

void use_a_fiber(Worker& worker) {
  Random& random = worker.random;
  constexpr std::size_t most_parked = 48;
  std::unique_ptr<ParkedFiber> fiber;
  if (world->fibers.size() >= most_parked || !random.one_in(6)) {
    if (auto taken = world->fibers.take(random)) {
      fiber = std::move(*taken);
    }
  }
  if (fiber == nullptr) {
    fiber = new_fiber(random);
  }
  if (random.one_in(4)) {
    worker.note("trims a fiber");
    fiber->trim();
  }
  if (random.one_in(8)) {
    fiber->verify();
  }
  worker.note("resumes a fiber");
  if (random.one_in(24)) {
    fiber->end(worker);
  } else {
    fiber->resume(worker);
  }
  worker.note("is back from a fiber");
  if (!fiber->has_ended()) {
    world->fibers.put(std::move(fiber));
  }
}

}  // namespace growstack::soak
