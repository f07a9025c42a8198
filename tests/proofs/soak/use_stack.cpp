#include "proofs/soak/use_stack.hpp"

#include <growstack/current_stack.hpp>
#include <growstack/strategy.hpp>

#include "proofs/soak/activity.hpp"
#include "proofs/soak/last_words.hpp"
#include "proofs/soak/tenant.hpp"
#include "proofs/soak/world.hpp"
#include "support/address_of.hpp"
#include "support/descend.hpp"

#include <algorithm>
#include <array>
#include <chrono>

namespace growstack::soak {

using testing::KiB;
using testing::MiB;

namespace {

GrowthPolicy some_policy(Random& random) {
  std::array policies{GrowthPolicy{}, GrowthPolicy::frugal(), GrowthPolicy::throughput(),
                      GrowthPolicy::pooled(),
                      GrowthPolicy{.initial_commit = 1, .factor = 1.1, .least_step = 1}};
  return random.one_of(policies);
}

/// Returns a reserve that all stacks of this strategy can have here.
std::size_t some_reserve(Random& random, Strategy strategy) {
  if (strategy == Strategy::locked) {
    return margin + random.between(1, 3) * 64 * KiB;
  }
  std::array<std::size_t, 5> reserves{384 * KiB, MiB, 8 * MiB, 8 * MiB, 64 * MiB};
  return random.one_of(reserves);
}

}  // namespace

StackOptions some_options(Random& random) {
  const Strategy strategy = random.one_of(world->settings.strategies);
  std::array<std::size_t, 3> guards{4 * KiB, 64 * KiB, 64 * KiB};
  return {.reserve = some_reserve(random, strategy),
          .guard = random.one_of(guards),
          .policy = some_policy(random),
          .strategy = strategy,
          .name = "soak " + std::to_string(random.below(4))};
}

PoolOptions some_pool_options(Random& random) {
  Strategy strategy{};
  do {
    strategy = random.one_of(world->settings.strategies);
  } while (!describe(strategy)->pools());
  std::array<std::size_t, 4> retentions{0, 1, 100, 10'000};
  std::array<std::size_t, 2> most{4, SIZE_MAX};
  return {.reserve = some_reserve(random, strategy),
          .policy = some_policy(random),
          .warm_size = random.one_in(2) ? WarmSize::learned : WarmSize::fixed,
          .strategy = strategy,
          .name = "pool " + std::to_string(random.below(4)),
          .most_stacks = random.one_of(most),
          .budget = random.one_in(2) ? 1024 * MiB : SIZE_MAX,
          .retention = std::chrono::milliseconds(random.one_of(retentions))};
}

std::size_t some_depth(Random& random, std::size_t room) {
  const std::size_t most = random.one_in(16) ? 16 * MiB : random.one_in(4) ? 4 * MiB : 512 * KiB;
  return random.log_uniform(4 * KiB, std::max(4 * KiB, std::min(room, most)));
}

void use_running_stack(Worker& worker, std::uintptr_t base, std::uintptr_t floor, bool fresh) {
  const std::uintptr_t here = GROWSTACK_HERE;
  if (here < floor || here - floor < margin + 8 * KiB) {
    return;
  }
  Random& random = worker.random;
  const std::size_t depth = some_depth(random, here - floor - margin);
  std::array<std::size_t, 3> frames{testing::under_thread_sanitizer ? 8 * KiB : KiB, 16 * KiB,
                                    256 * KiB};
  Tenant tenant(base, fresh);
  const Tenant* const before = worker.tenant.exchange(&tenant);
  const std::function<void()> at_the_bottom = [&] {
    worker.note("is at the bottom, as tenant", tenant.number(), depth);
    do_something_at_depth(worker);
    if (random.one_in(8)) {
      tenant.verify_all();
    }
  };
  worker.note("goes down", depth, base - floor);
  Descent descent{.tenant = tenant,
                  .random = random,
                  .deepest = here - depth,
                  .largest_frame = random.one_of(frames),
                  .looks_first = random.one_in(4),
                  .at_the_bottom = at_the_bottom};
  descend(descent);
  if (random.one_in(8)) {
    worker.note("trims the running stack");
    static_cast<void>(Stack::trim_current());
  }
  worker.tenant = before;
}

void use_running_stack(Worker& worker) {
  const auto bounds = current_stack_bounds();
  if (!bounds) {
    return;  // heap: no address leads to it
  }
  use_running_stack(worker, testing::address_of(bounds->base), testing::address_of(bounds->floor),
                    false);
}

}  // namespace growstack::soak
