#include "proofs/soak/world.hpp"

#include "proofs/soak/fiber.hpp"
#include "support/address_of.hpp"

namespace growstack::soak {

World* world = nullptr;

OwnedStack::OwnedStack(Stack stack, std::shared_ptr<PoolHouse> house, Territory& territory)
    : stack_(std::move(stack)),
      house_(std::move(house)),
      place_(territory, testing::address_of(stack_->floor()), testing::address_of(stack_->base())) {
  if (may_be_visited()) {
    const std::unique_lock lock(world->visits.mutex);
    world->visits.stacks.push_back(this);
  }
}

OwnedStack::~OwnedStack() {
  {
    const std::unique_lock lock(world->visits.mutex);
    std::erase(world->visits.stacks, this);
  }
  place_.leave();
  if (house_ != nullptr) {
    // The pool may have ended already, but must not end meanwhile.
    const std::shared_lock lock(house_->lock);
    stack_.reset();
  }
}

World::World(Settings given) : settings(std::move(given)) {
  for (unsigned index = 0; index < settings.threads + 1; ++index) {
    workers.emplace_back(settings.seed, index);
  }
}

World::~World() = default;

}  // namespace growstack::soak
