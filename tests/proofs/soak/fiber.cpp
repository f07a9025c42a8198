#include "proofs/soak/fiber.hpp"

#include <growstack/stack.hpp>

#include "proofs/soak/activity.hpp"
#include "proofs/soak/counts.hpp"
#include "proofs/soak/last_words.hpp"
#include "proofs/soak/use_stack.hpp"
#include "proofs/soak/world.hpp"
#include "support/address_of.hpp"
#include "support/descend.hpp"

#include <utility>

namespace growstack::soak {

using testing::KiB;

void ParkedFiber::resume(Worker& worker) {
  worker_ = &worker;
  const Tenant* const before = worker.tenant.load();
  worker.tenant = tenant_ ? &*tenant_ : before;
  fiber_ = std::move(fiber_).resume();
  worker.tenant = before;
  counts.switches.fetch_add(1, std::memory_order_relaxed);
}

void ParkedFiber::verify() const {
  if (tenant_) {
    tenant_->verify_all();
  }
}

void ParkedFiber::trim() {
  if (stack_pointer_ == 0) {
    return;
  }
  Stack stack = Stack::adopt(reinterpret_cast<void*>(stack_pointer_));
  const std::error_code error = stack.trim_below(reinterpret_cast<void*>(stack_pointer_));
  if (error && describe(stack.strategy())->trims) {
    wrong("trim_below: %s", error.message().c_str());
  }
  counts.trims.fetch_add(1, std::memory_order_relaxed);
  stack.release();
}

void ParkedFiber::end(Worker& worker) {
  shall_end_ = true;
  while (fiber_) {
    resume(worker);
  }
}

boost::context::fiber ParkedFiber::run(boost::context::fiber&& back) {
  back_ = std::move(back);
  const auto bounds = current_stack_bounds();
  if (!bounds) {
    wrong("a fiber runs on an unknown stack");
  }
  floor_ = testing::address_of(bounds->floor);
  tenant_.emplace(testing::address_of(bounds->base));
  place_.emplace(world->territory, floor_, testing::address_of(bounds->base));
  worker_->tenant = &*tenant_;
  while (!shall_end_) {
    stay();
  }
  worker_->tenant = nullptr;
  tenant_.reset();
  place_.reset();
  stack_pointer_ = 0;
  return std::move(back_);
}

void ParkedFiber::stay() {
  constexpr int most_levels = 12;
  while (!shall_end_) {
    if (random_.one_in(8)) {
      do_something_at_depth(*worker_);
    }
    suspend();
    tenant_->verify_all();
    const std::uintptr_t here = GROWSTACK_HERE;
    if (random_.one_in(3) || levels_ == most_levels || here < floor_ + margin + 8 * KiB) {
      return;
    }
    const std::function<void()> stays = [this] { stay(); };
    Descent descent{.tenant = *tenant_,
                    .random = random_,
                    .deepest = here - some_depth(random_, here - floor_ - margin),
                    .largest_frame = random_.one_in(2) ? 2 * KiB : 128 * KiB,
                    .looks_first = random_.one_in(4),
                    .at_the_bottom = stays};
    ++levels_;
    descend(descent);
    --levels_;
  }
}

[[gnu::noinline]] void ParkedFiber::suspend() {
  // To suspend itself the fiber pushes less than this.
  constexpr std::size_t below_this_frame = testing::sanitized ? 8 * KiB : KiB;
  stack_pointer_ = GROWSTACK_HERE - below_this_frame;
  back_ = std::move(back_).resume();
}

}  // namespace growstack::soak
