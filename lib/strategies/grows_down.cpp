// grows_down: the kernel's own variant, MAP_GROWSDOWN, for comparison with ours.
//
// The mapping starts small at the top, and the kernel moves its start down when the hole below it
// is touched. That address space must stay unmapped, so nothing can hold it: other mappings of the
// process may land there and end the growth. Only the kernel knows how far a mapping grew, so we
// read /proc/self/maps. RLIMIT_STACK bounds each mapping; the kernel reads it at the time of the
// fault.
#include "errors.hpp"
#include "memory/vm.hpp"
#include "strategies/implementation.hpp"

#include <growstack/handler/failed_call.hpp>
#include <growstack/handler/handler.hpp>
#include <growstack/handler/name_memory.hpp>

#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <string>

namespace growstack {
namespace {

constexpr StrategyDescription grows_down{
    .strategy = Strategy::grows_down,
    .name = "grows_down",
    .description = "MAP_GROWSDOWN: the kernel moves the mapping's start, as for the main thread",
    .least_kernel = "5.9",
    .keeps_reservation = false,
    .charge = DataCharge::nothing};

/// Returns where the mapping starts now, but no address below the stack's floor. If /proc/self/maps
/// cannot be read (no descriptor is left), returns the slot's limit, which is where the mapping
/// started at first or after a trim: only memory above that is known to be ours.
std::uintptr_t mapping_start(const handler::SlotRecord& slot, int& error) noexcept {
  const std::uintptr_t start = vm::mapping_start(slot.base.load(std::memory_order_relaxed) - 1);
  error = start == 0 ? errno : 0;
  return start == 0 ? slot.limit.load(std::memory_order_relaxed)
                    : std::max(start, slot.floor.load(std::memory_order_relaxed));
}

std::uintptr_t mapping_start(const handler::SlotRecord& slot) noexcept {
  int ignored = 0;
  return mapping_start(slot, ignored);
}

/// Returns where the mapping of a stack that ends starts, also if /proc/self/maps cannot be read.
/// Memory of others may touch it from below: the kernel keeps its gap to accessible memory only.
/// What is forbidden in the stack becomes accessible.
std::uintptr_t start_at_the_end(const handler::SlotRecord& slot) noexcept {
  return vm::lowest_of_growing(slot.floor.load(std::memory_order_relaxed), mapping_start(slot));
}

class GrowsDown final : public Implementation {
 public:
  constexpr GrowsDown() noexcept : Implementation(grows_down) {}

  void check(const StackOptions& options) const override {
    rlimit stack_limit{};
    if (getrlimit(RLIMIT_STACK, &stack_limit) != 0) {
      return;  // a filter forbids the question, and the kernel knows the answer
    }
    if (stack_limit.rlim_cur != RLIM_INFINITY && options.reserve > stack_limit.rlim_cur) {
      fail(ENOMEM, "grows_down: the kernel grows a MAP_GROWSDOWN mapping up to RLIMIT_STACK, now " +
                       in_bytes(stack_limit.rlim_cur) + ", and " + in_bytes(options.reserve) +
                       " are asked for; raise it (ulimit -s) or reserve less");
    }
  }

  [[nodiscard]] int open(const Bounds& bounds, const Layout&,
                         const StackOptions& options) const noexcept override {
    const std::size_t initial_commit = options.policy.initial_commit;
    const std::uintptr_t limit = first_limit(bounds, options);
    void* const mapped =
        mmap(reinterpret_cast<void*>(limit), initial_commit, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_STACK | MAP_FIXED, -1, 0);
    if (mapped == MAP_FAILED) {
      return handler::failed(handler::SystemCall::mmap);
    }
    int error = madvise(mapped, initial_commit, MADV_NOHUGEPAGE) == 0 || errno == EINVAL
                    ? 0
                    : handler::failed(handler::SystemCall::madvise);
    // The kernel keeps the name as the mapping grows.
    handler::name_memory(limit, initial_commit, handler::stacks_name);
    // The alternate signal stack of the next thread, which may be the one that runs here. A mapping
    // that is made later may land in the hole. Without memory, that one will be refused as well.
    handler::AlternateStackMemory made_before_the_hole;
    static_cast<void>(made_before_the_hole.reserve());
    if (error == 0) {
      error = vm::release(bounds.floor, limit - bounds.floor);  // the hole to grow into
    }
    if (error != 0) {
      static_cast<void>(vm::decommit(limit, initial_commit, vm::Pages::small));
    }
    return error;
  }

  /// Unmaps the lower part. That gives memory and charge back, and the mapping can grow there
  /// again. The limit is raised first, because only memory above it is known to be ours from then
  /// on: the mapping of a stranger may land below it.
  [[nodiscard]] int trim(handler::SlotRecord& slot, const Layout&,
                         std::uintptr_t keep_from) const noexcept override {
    int error = 0;
    const std::uintptr_t start = mapping_start(slot, error);
    if (error != 0) {
      return error;  // a hole in the middle would hide what is below it from the next trim
    }
    remember_depth(slot, start);
    slot.limit.store(std::max(keep_from, start), std::memory_order_release);
    return start < keep_from ? vm::release(start, keep_from - start) : 0;
  }

  [[nodiscard]] int close(const handler::SlotRecord& slot, const Layout&) const noexcept override {
    const std::uintptr_t start = start_at_the_end(slot);
    const std::size_t size = slot.base.load(std::memory_order_relaxed) - start;
    const int error = vm::release(start, size);
    if (error != 0) {  // at least it costs no memory any more
      static_cast<void>(vm::decommit(start, size, vm::Pages::small));
    }
    return error;
  }

  [[nodiscard]] std::uintptr_t limit(const handler::SlotRecord& slot,
                                     const Layout&) const noexcept override {
    return mapping_start(slot);
  }

  [[nodiscard]] std::uintptr_t high_water(const handler::SlotRecord& slot,
                                          const Layout&) const noexcept override {
    return std::min(mapping_start(slot), slot.high_water.load(std::memory_order_relaxed));
  }

 private:
  static void remember_depth(handler::SlotRecord& slot, std::uintptr_t start) noexcept {
    slot.high_water.store(std::min(start, slot.high_water.load(std::memory_order_relaxed)),
                          std::memory_order_relaxed);
  }
};

constinit const GrowsDown instance;

}  // namespace

template <>
const Implementation& implementation_of<Strategy::grows_down>() noexcept {
  return instance;
}

}  // namespace growstack
