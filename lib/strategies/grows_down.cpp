// grows_down: the kernel's own variant, MAP_GROWSDOWN, beside ours for comparison.
//
// The mapping starts small at the top, and the kernel moves its start down when the hole below is
// touched. The hole must be a hole: nothing can hold that address space, so other mappings of the
// process may land in it and end the growth. How far it grew is known to the kernel alone, hence
// the look into /proc/self/maps. RLIMIT_STACK bounds each mapping, and is read at the time of the
// fault.
#include "errors.hpp"
#include "strategies/implementation.hpp"
#include "memory/vm.hpp"

#include <growstack/handler/name_memory.hpp>

#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <string>

namespace growstack {
namespace {

/// Start of the mapping now; nothing of it lies below the stack's own floor. Where /proc/self/maps
/// cannot be read (no descriptor left), the start it had at first, which is all that is known to be
/// ours.
std::uintptr_t mapping_start(const handler::SlotRecord& slot) noexcept {
  const std::uintptr_t start = vm::mapping_start(slot.base.load(std::memory_order_relaxed) - 1);
  return start == 0 ? slot.limit.load(std::memory_order_relaxed)
                    : std::max(start, slot.floor.load(std::memory_order_relaxed));
}

class GrowsDown final : public Implementation {
 public:
  [[nodiscard]] const StrategyDescription& description() const noexcept override {
    static constexpr StrategyDescription text{
        Strategy::grows_down, "grows_down",
        "MAP_GROWSDOWN: the kernel moves the mapping's start, as for the main thread", "5.9"};
    return text;
  }
  [[nodiscard]] handler::Growth growth() const noexcept override {
    return handler::Growth::by_kernel;
  }
  [[nodiscard]] bool keeps_reservation() const noexcept override { return false; }

  void check(const StackOptions& options) const override {
    rlimit stack_limit{};
    getrlimit(RLIMIT_STACK, &stack_limit);
    if (stack_limit.rlim_cur != RLIM_INFINITY && options.reserve > stack_limit.rlim_cur) {
      fail(ENOMEM, "grows_down: the kernel grows a MAP_GROWSDOWN mapping up to RLIMIT_STACK, now " +
                       in_bytes(stack_limit.rlim_cur) + ", and " + in_bytes(options.reserve) +
                       " are asked for; raise it (ulimit -s) or reserve less");
    }
  }

  [[nodiscard]] int open(const Bounds& bounds, const Layout&, const StackOptions& options,
                         std::uintptr_t& limit) const noexcept override {
    const std::size_t initial_commit = options.policy.initial_commit;
    limit = bounds.base - initial_commit;
    void* const mapped =
        mmap(reinterpret_cast<void*>(limit), initial_commit, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_STACK | MAP_FIXED, -1, 0);
    if (mapped == MAP_FAILED) {
      return errno;
    }
    int error =
        madvise(mapped, initial_commit, MADV_NOHUGEPAGE) == 0 || errno == EINVAL ? 0 : errno;
    handler::name_memory(limit, initial_commit,
                         handler::stacks_name);  // the kernel keeps it as the mapping grows
    if (error == 0) {
      error = vm::release(bounds.floor, limit - bounds.floor);  // the hole to grow into
    }
    if (error != 0) {
      static_cast<void>(vm::decommit(limit, initial_commit, vm::Pages::small));
    }
    return error;
  }

  /// Unmaps the lower part: that gives back memory and charge, and leaves a hole to grow into
  /// again.
  [[nodiscard]] int trim(handler::SlotRecord& slot, const Layout&,
                         std::uintptr_t keep_from) const noexcept override {
    const std::uintptr_t start = mapping_start(slot);
    remember_depth(slot, start);
    return start < keep_from ? vm::release(start, keep_from - start) : 0;
  }

  [[nodiscard]] int close(const handler::SlotRecord& slot, const Layout&) const noexcept override {
    const std::uintptr_t start = mapping_start(slot);
    return vm::release(start, slot.base.load(std::memory_order_relaxed) - start);
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

}  // namespace

const Implementation& grows_down_strategy() noexcept {
  static const GrowsDown instance;
  return instance;
}

}  // namespace growstack
