// Blocks of a memory_resource.
#include <growstack/memory_resource.hpp>

#include "proofs/soak/activities/list.hpp"
#include "proofs/soak/counts.hpp"
#include "proofs/soak/tenant.hpp"
#include "proofs/soak/use_stack.hpp"
#include "support/address_of.hpp"

#include <vector>

namespace growstack::soak {

void use_a_region(Worker& worker) {
  struct Block {
    void* begin;
    std::size_t bytes;
  };
  Random& random = worker.random;
  StackOptions options = some_options(random);
  if (options.strategy == Strategy::heap || options.strategy == Strategy::grows_down) {
    return;  // they have no regions
  }
  options.reserve += testing::MiB;
  memory_resource region(options);
  const Tenant tenant(0);
  const auto address = [](const Block& block) { return testing::address_of(block.begin); };
  for (std::size_t rounds = random.between(1, 3); rounds > 0; --rounds) {
    std::vector<Block> blocks;
    std::size_t left = std::min(region.capacity(), 4 * testing::MiB) / 2;
    while (left > 64 && blocks.size() < 64) {
      const std::size_t bytes = random.log_uniform(8, left / 2) / 8 * 8;
      blocks.push_back({region.allocate(bytes, 8), bytes});
      tenant.fill(address(blocks.back()), address(blocks.back()) + bytes);
      left -= bytes;
      if (random.one_in(8)) {
        tenant.verify(address(blocks.back()), address(blocks.back()) + bytes);
        region.deallocate(blocks.back().begin, bytes, 8);
        blocks.pop_back();
      }
      if (random.one_in(16)) {
        static_cast<void>(region.trim());
      }
    }
    for (const Block& block : blocks) {
      tenant.verify(address(block), address(block) + block.bytes);
    }
    region.release();
  }
  counts.regions.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace growstack::soak
