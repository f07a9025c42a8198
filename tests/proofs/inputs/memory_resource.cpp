// memory_resource against a list of its blocks: where each one lies, what is made free, and what
// AddressSanitizer is told of it. The memory is real.
#include "input.hpp"

#include <growstack/memory_resource.hpp>

#include "sanitizers.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <vector>

namespace growstack::inputs {
namespace {

__extension__ using Wide = __int128;

constexpr std::size_t page = 4096;

/// Returns whether AddressSanitizer lets nobody touch the address.
bool is_forbidden([[maybe_unused]] const std::byte* address) {
#ifdef GROWSTACK_ASAN
  return __asan_address_is_poisoned(address) != 0;
#else
  return true;
#endif
}

/// Returns whether it lets everybody touch all of the bytes.
bool is_allowed([[maybe_unused]] std::byte* begin, [[maybe_unused]] std::size_t size) {
#ifdef GROWSTACK_ASAN
  return __asan_region_is_poisoned(begin, size) == nullptr;
#else
  return true;
#endif
}

/// A block, and where the lowest one was before it.
struct Block {
  std::byte* address;
  std::size_t bytes;
  std::size_t alignment;
  std::uintptr_t before;
  bool is_live;
};

/// One region of each kind serves all inputs, because a new one takes a hundred times as long.
memory_resource& any_region(Input& input) {
  static std::array<memory_resource*, 3> const regions{
      new memory_resource({.reserve = 1 << 20, .strategy = Strategy::in_handler}),
      new memory_resource({.reserve = 40 * page,
                           .policy = GrowthPolicy::pooled(),
                           .strategy = Strategy::in_handler}),
      new memory_resource({.reserve = 1 << 20, .strategy = Strategy::demand_paging})};
  memory_resource& region = *regions[input.from(0, regions.size() - 1)];
  region.release();
  static_cast<void>(region.trim());
  return region;
}

class Model {
 public:
  explicit Model(memory_resource& region)
      : region_(region),
        base_(reinterpret_cast<std::uintptr_t>(region.stack().base())),
        lowest_(base_) {}

  void allocate(std::size_t bytes, std::size_t alignment) {
    // From the lowest block down: its size in units of 16 bytes, and one unit at least.
    const Wide size = bytes == 0 ? 16 : (Wide{bytes} + 15) / 16 * 16;
    const Wide end = Wide{lowest_} - size;
    const Wide expected = end < 0 ? end : end - end % static_cast<Wide>(alignment);
    const bool fits = expected >= Wide{base_ - region_.capacity()};
    void* found = nullptr;
    try {
      found = region_.allocate(bytes, alignment);
    } catch (const std::bad_alloc&) {
      require(!fits, "a block that fits is there");
      return;
    }
    require(fits, "a block that does not fit is refused");
    require_equal(reinterpret_cast<std::uintptr_t>(found), static_cast<std::uint64_t>(expected),
                  "blocks go down from the base, aligned");
    require(region_.contains(found), "a block lies in the region");
    blocks_.push_back({static_cast<std::byte*>(found), bytes, alignment, lowest_, true});
    lowest_ = reinterpret_cast<std::uintptr_t>(found);
    mark(blocks_.back());
  }

  /// Gives any live block back. Only the lowest one makes room.
  void deallocate(std::size_t number) {
    Block& block = blocks_[number];
    if (!block.is_live) {
      return;
    }
    check(block);
    region_.deallocate(block.address, block.bytes, block.alignment);
    block.is_live = false;
    if (reinterpret_cast<std::uintptr_t>(block.address) == lowest_) {
      lowest_ = block.before;
      blocks_.pop_back();
    }
    require(block.bytes == 0 || is_forbidden(block.address),
            "nobody may touch what was given back");
  }

  void release() {
    check_all();
    const std::size_t needed = base_ - lowest_;
    const std::size_t had = region_.committed();
    region_.release();
    blocks_.clear();
    lowest_ = base_;
    require(region_.committed() >= std::min(needed, had), "memory is kept for the next blocks");
  }

  void trim() {
    require(!region_.trim(), "memory is given back");
    require(region_.committed() == region_.capacity() ||  // of the strategies that never grow
                region_.committed() < region_.used() + page,
            "no more is kept than the blocks need");
    check_all();
  }

  void check_all() const {
    require_equal(region_.used(), base_ - lowest_, "what is used is known");
    require(region_.committed() >= region_.used(), "blocks are committed");
    for (const Block& block : blocks_) {
      if (block.is_live) {
        check(block);
      }
    }
  }

  [[nodiscard]] std::size_t count() const { return blocks_.size(); }

 private:
  /// Writes the block's own address to both of its ends.
  static void mark(const Block& block) {
    require(block.bytes == 0 || is_allowed(block.address, block.bytes), "a block may be touched");
    const std::size_t bytes = std::min(block.bytes, sizeof(void*));
    std::memcpy(block.address, &block.address, bytes);
    std::memcpy(block.address + block.bytes - bytes, &block.address, bytes);
  }
  static void check(const Block& block) {
    const std::size_t bytes = std::min(block.bytes, sizeof(void*));
    require(std::memcmp(block.address + block.bytes - bytes, &block.address, bytes) == 0,
            "no block overlaps another one");
    require(
        block.bytes < 2 * sizeof(void*) || std::memcmp(block.address, &block.address, bytes) == 0,
        "no block overlaps another one");
  }

  memory_resource& region_;
  std::uintptr_t base_;
  std::uintptr_t lowest_;
  std::vector<Block> blocks_{};
};

}  // namespace

void try_input(Input& input) {
  memory_resource& region = any_region(input);
  Model model(region);
  while (!input.is_over()) {
    switch (input.from(0, 7)) {
      case 0:
        if (input.from(0, 3) == 0) {
          model.release();
        }
        break;
      case 1:
        if (input.from(0, 3) == 0) {
          model.trim();
        }
        break;
      case 2:
      case 3:
        if (model.count() > 0) {
          model.deallocate(model.count() - 1);
        }
        break;
      case 4:
        if (model.count() > 0) {
          model.deallocate(input.from(0, model.count() - 1));
        }
        break;
      default: {
        const bool is_large = input.from(0, 15) == 0;
        const std::size_t bytes = input.magnitude(0, is_large ? UINT64_MAX : 2 * page);
        model.allocate(bytes, std::size_t{1} << input.from(0, is_large ? 63 : 12));
      }
    }
    model.check_all();
  }
}

}  // namespace growstack::inputs
