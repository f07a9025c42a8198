// demand_paging: what everybody does today. The whole stack is readable and writable from the start, uncharged
// (MAP_NORESERVE), and the kernel fills a page with zeros at its first touch. No fault of ours, no growth event.
#include "strategies/implementation.hpp"
#include "vm.hpp"

#include <algorithm>

namespace growstack {
namespace {

/// Into a core dump go the mappings that were ever written to, each in its full length: of 256 GiB in one piece the kernel
/// walks every page, which takes seconds, and makes a file of that apparent size. So a stack larger than usual is several
/// mappings, each reaching 16 times as deep as the one above, and those too deep to have been used are left out.
void split_for_core_dumps(const Bounds& bounds) noexcept {
  constexpr std::size_t first_piece = std::size_t{256} << 20;
  constexpr std::size_t ratio = 16;
  const std::size_t reserve = bounds.base - bounds.floor;
  bool apart = true;
  for (std::size_t above = first_piece; above < reserve; above *= ratio, apart = !apart) {
    const std::size_t below = std::min(reserve, above * ratio);
    if (apart && vm::set_apart(bounds.base - below, below - above) != 0) {
      return;  // no mappings left: only the size of a core is at stake
    }
  }
}

class DemandPaging final : public Implementation {
 public:
  [[nodiscard]] const StrategyDescription& description() const noexcept override {
    static constexpr StrategyDescription text{Strategy::demand_paging, "demand_paging",
                                              "a read-write mapping, filled by the kernel at first touch", "5.9"};
    return text;
  }
  [[nodiscard]] handler::Growth growth() const noexcept override { return handler::Growth::by_kernel; }

  [[nodiscard]] int open(const Bounds& bounds, std::size_t, std::uintptr_t& limit) const noexcept override {
    limit = bounds.floor;
    const int error = vm::commit_uncharged(bounds.floor, bounds.base - bounds.floor);
    if (error == 0) {
      split_for_core_dumps(bounds);
    }
    return error;
  }

  [[nodiscard]] int trim(handler::SlotRecord& slot, std::uintptr_t keep_from) const noexcept override {
    const std::uintptr_t floor = slot.floor.load(std::memory_order_relaxed);
    return vm::discard(floor, keep_from - floor);
  }

  [[nodiscard]] int close(const handler::SlotRecord& slot) const noexcept override {
    const std::uintptr_t floor = slot.floor.load(std::memory_order_relaxed);
    return vm::decommit(floor, slot.base.load(std::memory_order_relaxed) - floor);
  }

  [[nodiscard]] std::uintptr_t limit(const handler::SlotRecord& slot) const noexcept override {
    return slot.floor.load(std::memory_order_relaxed);
  }

  /// No event tells how deep it went: what is resident now is all there is to see.
  [[nodiscard]] std::uintptr_t high_water(const handler::SlotRecord& slot) const noexcept override {
    const std::uintptr_t floor = slot.floor.load(std::memory_order_relaxed);
    return vm::lowest_resident(floor, slot.base.load(std::memory_order_relaxed) - floor);
  }
};

}  // namespace

const Implementation& demand_paging_strategy() noexcept {
  static const DemandPaging instance;
  return instance;
}

}  // namespace growstack
