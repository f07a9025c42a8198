// memory_resource: blocks in a region that grows.
#include <growstack/memory_resource.hpp>

#include "arenas/arena.hpp"
#include "errors.hpp"
#include "memory/vm.hpp"
#include "sanitizers.hpp"
#include "stacks/stack_access.hpp"

#include <growstack/handler/commit_ahead.hpp>

#include <algorithm>
#include <cerrno>
#include <new>

namespace growstack {
namespace {

/// The size and the address of every block are multiples of this.
constexpr std::size_t unit = alignof(std::max_align_t);

/// Rounds a size that fits into the region up. A block of 0 bytes has an address of its own, too.
std::size_t in_units(std::size_t bytes) noexcept {
  return bytes == 0 ? unit : vm::round_up(bytes, unit);
}

/// Written into the room that alignment leaves above a block, so that deallocate() finds the way
/// back over that room.
struct Padding {
  std::uintptr_t next;    ///< the lowest block when this one was allocated
  std::uintptr_t padded;  ///< the lowest block with such room when this one was allocated
};
static_assert(sizeof(Padding) <= unit, "the room is a multiple of a unit");

Padding take_padding(std::uintptr_t address) noexcept {
  sanitizers::allow(address, sizeof(Padding));
  const Padding padding = *reinterpret_cast<const Padding*>(address);
  sanitizers::forbid(address, sizeof padding);
  return padding;
}

void write_padding(std::uintptr_t address, Padding padding) noexcept {
  sanitizers::allow(address, sizeof padding);
  new (reinterpret_cast<void*>(address)) Padding(padding);
  sanitizers::forbid(address, sizeof padding);
}

StackOptions as_region(StackOptions options) {
  const StrategyDescription* const strategy = describe(options.strategy);  // null for automatic
  if (strategy != nullptr && !strategy->keeps_reservation) {
    fail(EINVAL, "memory_resource: " + std::string(strategy->name) +
                     " holds no address space, other mappings may land where it is to grow: use "
                     "another strategy");
  }
  if (strategy != nullptr && !strategy->own_address_space) {
    fail(EINVAL, "memory_resource: " + std::string(strategy->name) +
                     " has all of it from malloc and gives nothing back: use another strategy");
  }
  if (options.name == StackOptions{}.name) {
    options.name = "memory resource";
  }
  return options;
}

}  // namespace

memory_resource::memory_resource(const StackOptions& options)
    : stack_(as_region(options)),
      base_(reinterpret_cast<std::uintptr_t>(stack_.base())),
      floor_(reinterpret_cast<std::uintptr_t>(stack_.floor())),
      next_(base_),
      ready_(base_),
      deepest_(base_),
      reached_(base_),
      poisoned_(base_) {}

memory_resource::~memory_resource() { sanitizers::allow(poisoned_, base_ - poisoned_); }

std::size_t memory_resource::committed() const noexcept { return stack_.committed(); }
std::size_t memory_resource::resident() const noexcept { return stack_.resident(); }

void* memory_resource::do_allocate(std::size_t bytes, std::size_t alignment) {
  if (bytes > next_ - floor_) [[unlikely]] {
    throw std::bad_alloc();
  }
  const std::size_t size = in_units(bytes);
  const std::uintptr_t block = (next_ - size) & ~(alignment - 1);
  if (block < ready_) [[unlikely]] {
    make_ready(block);
  }
  if (const std::uintptr_t end = block + size; end != next_) [[unlikely]] {
    write_padding(end, {.next = next_, .padded = padded_});
    padded_ = block;
  }
  next_ = block;
  sanitizers::allow(block, bytes);
  return reinterpret_cast<void*>(block);
}

void memory_resource::do_deallocate(void* pointer, std::size_t bytes, std::size_t) {
  const auto block = reinterpret_cast<std::uintptr_t>(pointer);
  const std::uintptr_t end = block + in_units(bytes);
  sanitizers::forbid(block, end - block);
  if (block != next_) {
    return;
  }
  deepest_ = std::min(deepest_, block);
  next_ = end;
  if (block == padded_) [[unlikely]] {
    const Padding padding = take_padding(end);
    next_ = padding.next;
    padded_ = padding.padded;
  }
}

/// Commits down to the block, which alignment may have taken below the floor. Memory is then ready
/// as far as it is committed, but no further than as much again as is in use: if all of a reserve
/// is committed, AddressSanitizer need not be told about all of it at once.
void memory_resource::make_ready(std::uintptr_t block) {
  if (handler::commit_ahead(floor_, block) != 0) {
    throw std::bad_alloc();
  }
  const OpenSlot slot = StackAccess::slot(stack_);
  // With userfaultfd, in a forked child, the kernel fills what is missing and nobody lowers the
  // limit: hence std::min.
  const std::uintptr_t limit = std::min(slot.limit(), vm::page_down(block));
  ready_ = std::max(limit, kept_limit(slot.policy(), base_, floor_, block, 0, vm::page_size()));
  if (ready_ < poisoned_) {
    sanitizers::forbid(ready_, poisoned_ - ready_);
    poisoned_ = ready_;
  }
}

/// Keeps memory by the rule of Stack::trim_current(): if the use varies within a factor of two, no
/// memory is given back.
void memory_resource::release() noexcept {
  sanitizers::forbid(next_, base_ - next_);
  deepest_ = std::min(deepest_, next_);
  reached_ = std::min(reached_, deepest_);
  const GrowthPolicy& policy = StackAccess::slot(stack_).policy();
  if (reached_ < base_ - policy.initial_commit) {
    const std::uintptr_t keep_from =
        kept_limit(policy, base_, floor_, deepest_, 0, vm::page_size());
    if (reached_ < keep_from) [[unlikely]] {
      // A failure does no harm: memory that was not given back is used when it is needed.
      static_cast<void>(trim_below(keep_from));
    }
  }
  next_ = base_;
  deepest_ = base_;
  padded_ = 0;
}

std::error_code memory_resource::trim() noexcept {
  return error_code(trim_below(vm::page_down(next_)));
}

int memory_resource::trim_below(std::uintptr_t keep_from) noexcept {
  const OpenSlot slot = StackAccess::slot(stack_);
  const int error = slot.trim(keep_from);
  ready_ = std::max(ready_, slot.limit());
  deepest_ = keep_from;
  reached_ = keep_from;
  return error;
}

}  // namespace growstack
