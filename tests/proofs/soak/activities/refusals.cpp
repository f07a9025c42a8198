// More than there is: what is refused says so by a value or an exception, and nothing changes.
#include <growstack/growstack.hpp>

#include "proofs/soak/activities/list.hpp"
#include "proofs/soak/counts.hpp"
#include "proofs/soak/last_words.hpp"
#include "proofs/soak/use_stack.hpp"

#include <new>
#include <system_error>
#include <vector>

namespace growstack::soak {

using testing::KiB;
using testing::MiB;

namespace {

void more_than_the_reserve(Worker& worker) {
  call(StackOptions{.reserve = MiB}, [&] {
    if (!reserve_headroom(2 * MiB)) {
      wrong("a stack of 1 MiB has a headroom of 2 MiB");
    }
    use_running_stack(worker);
  });
}

void more_than_the_budget() {
  StackPool pool({.strategy = Strategy::in_handler, .budget = 256 * KiB});
  Stack stack = pool.acquire();
  call(stack, [] {
    if (!reserve_headroom(MiB)) {
      wrong("a budget of 256 KiB allows a headroom of 1 MiB");
    }
  });
}

void more_stacks_than_the_budget() {
  StackPool pool({.strategy = Strategy::pipe_helper, .budget = 64 * KiB});
  std::vector<Stack> stacks;
  try {
    for (;;) {
      stacks.push_back(pool.acquire());
      if (stacks.size() > 64) {
        wrong("a budget of 64 KiB allows 64 stacks");
      }
    }
  } catch (const std::system_error& error) {
    if (error.code() != std::errc::not_enough_memory) {
      wrong("beyond a budget: %s", error.what());
    }
  }
}

void more_than_the_region() {
  memory_resource region({.reserve = MiB});
  try {
    static_cast<void>(region.allocate(2 * MiB));
    wrong("a region of 1 MiB has a block of 2 MiB");
  } catch (const std::bad_alloc&) {
  }
}

void more_than_the_address_space() {
  try {
    const Stack stack({.reserve = std::size_t{1} << 50U});
    wrong("there is a stack of 2^50 bytes");
  } catch (const std::system_error&) {
  }
}

}  // namespace

void ask_for_too_much(Worker& worker) {
  switch (worker.random.below(5)) {
    case 0:
      more_than_the_reserve(worker);
      break;
    case 1:
      more_than_the_budget();
      break;
    case 2:
      more_stacks_than_the_budget();
      break;
    case 3:
      more_than_the_region();
      break;
    default:
      more_than_the_address_space();
  }
  counts.refusals.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace growstack::soak
