// demand_paging: what everybody does today. The whole stack is readable and writable from the
// start, uncharged (MAP_NORESERVE), and the kernel fills a page with zeros at its first touch. No
// fault of ours, no growth event.
#include "strategies/always_committed.hpp"
#include "strategies/core_dumps.hpp"

namespace growstack {
namespace {

class DemandPaging final : public AlwaysCommitted {
 public:
  [[nodiscard]] const StrategyDescription& description() const noexcept override {
    static constexpr StrategyDescription text{
        Strategy::demand_paging, "demand_paging",
        "a read-write mapping, filled by the kernel at first touch", "5.9"};
    return text;
  }

  [[nodiscard]] int open(const Bounds& bounds, const Layout&, const StackOptions&,
                         std::uintptr_t& limit) const noexcept override {
    limit = bounds.floor;
    const int error =
        vm::commit_uncharged(bounds.floor, bounds.base - bounds.floor, vm::Pages::small);
    if (error == 0) {
      split_for_core_dumps(bounds);
    }
    return error;
  }
};

}  // namespace

const Implementation& demand_paging_strategy() noexcept {
  static const DemandPaging instance;
  return instance;
}

}  // namespace growstack
