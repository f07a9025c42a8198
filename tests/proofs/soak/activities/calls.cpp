// Stacks, calls on them, calls on kept stacks, and recursion that goes on elsewhere.
#include <growstack/growstack.hpp>

#include "proofs/soak/activities/list.hpp"
#include "proofs/soak/counts.hpp"
#include "proofs/soak/last_words.hpp"
#include "proofs/soak/tenant.hpp"
#include "proofs/soak/use_stack.hpp"
#include "proofs/soak/world.hpp"
#include "support/address_of.hpp"
#include "support/descend.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <system_error>

namespace growstack::soak {

using testing::KiB;
using testing::MiB;

namespace {

std::unique_ptr<OwnedStack> new_stack(Random& random) {
  const StackOptions options = some_options(random);
  auto made = std::make_unique<OwnedStack>(Stack(options), nullptr, world->territory);
  made->fresh = made->stack().strategy() != Strategy::heap;
  return made;
}

/// Returns null if the pool has no more, or has ended.
std::unique_ptr<OwnedStack> stack_of_a_pool(Random& random) {
  const auto taken = world->pools.take(random);
  if (!taken) {
    return nullptr;
  }
  const std::shared_ptr<PoolHouse> house = *taken;
  world->pools.put(house);
  const std::shared_lock lock(house->lock);
  if (!house->pool) {
    return nullptr;
  }
  try {
    Stack stack = random.one_in(2)
                      ? house->pool->acquire()
                      : house->pool->acquire("name " + std::to_string(random.below(9)));
    return std::make_unique<OwnedStack>(std::move(stack), house, world->territory);
  } catch (const std::system_error& error) {
    const std::string_view what(error.what());
    const bool most_are_out = error.code() == std::errc::resource_unavailable_try_again;
    if (!most_are_out && what.find("PoolOptions::budget is 1 GiB") == std::string_view::npos) {
      throw;
    }
    counts.refusals.fetch_add(1, std::memory_order_relaxed);
    return nullptr;
  }
}

std::unique_ptr<OwnedStack> some_stack(Random& random) {
  switch (random.below(4)) {
    case 0:
      return new_stack(random);
    case 1:
      if (auto shelved = world->stacks.take(random)) {
        return std::move(*shelved);
      }
      return new_stack(random);
    default:
      return stack_of_a_pool(random);
  }
}

}  // namespace

void use_a_stack(Worker& worker) {
  Random& random = worker.random;
  std::unique_ptr<OwnedStack> owned = some_stack(random);
  if (owned == nullptr) {
    return;
  }
  Stack& stack = owned->stack();
  for (std::size_t calls = random.between(1, 3); calls > 0; --calls) {
    worker.note("calls on a stack of strategy", static_cast<std::size_t>(stack.strategy()));
    call(stack, [&] {
      use_running_stack(worker, testing::address_of(stack.base()),
                        testing::address_of(stack.floor()), owned->fresh);
    });
    counts.calls[static_cast<std::size_t>(stack.strategy())].fetch_add(1,
                                                                       std::memory_order_relaxed);
    owned->fresh = false;
    if (random.one_in(4)) {
      worker.note("trims it");
      const std::error_code error = stack.trim();
      if (error && describe(stack.strategy())->trims) {
        wrong("trim: %s", error.message().c_str());
      }
      owned->fresh = !error;
      counts.trims.fetch_add(1, std::memory_order_relaxed);
    }
  }
  constexpr std::size_t most_shelved = 32;
  if (random.one_in(2) && world->stacks.size() < most_shelved) {
    world->stacks.put(std::move(owned));
  }
  worker.note("lets it go");
}

void call_with_options(Worker& worker) {
  StackOptions options = some_options(worker.random);
  if (worker.random.one_in(2)) {
    options.policy = GrowthPolicy{};  // so that sets of options come again
    options.guard = 64 * KiB;
  }
  worker.note("calls, by strategy", static_cast<std::size_t>(options.strategy), options.reserve);
  call(options, [&] {
    const auto bounds = current_stack_bounds();
    if (!bounds) {
      return;  // heap
    }
    const Place place(world->territory, testing::address_of(bounds->floor),
                      testing::address_of(bounds->base));
    use_running_stack(worker);
  });
  counts.calls_with_options.fetch_add(1, std::memory_order_relaxed);
}

namespace {

[[gnu::noinline]] void recurse(Worker& worker, const Tenant& tenant, std::size_t steps) {
  constexpr std::size_t least_left = testing::sanitized ? 512 * KiB : 96 * KiB;
  static const StackOptions elsewhere{.reserve = MiB, .name = "elsewhere"};
  volatile std::uint64_t words[512];
  const std::uintptr_t begin = testing::address_of(const_cast<std::uint64_t*>(words));
  tenant.fill(begin, begin + sizeof words);
  if (steps > 0) {
    if (steps % 2 == 0) {
      ensure_stack(least_left, recurse, worker, tenant, steps - 1);
    } else {
      ensure_stack(elsewhere, least_left, recurse, worker, tenant, steps - 1);
    }
  }
  tenant.verify(begin, begin + sizeof words);
}

}  // namespace

void recurse_anywhere(Worker& worker) {
  const Tenant tenant(0);
  recurse(worker, tenant,
          worker.random.log_uniform(8, testing::under_thread_sanitizer ? 500 : 3000));
  counts.recursions.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace growstack::soak
