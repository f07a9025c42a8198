// demand_paging: what most programs do today. The whole stack is readable and writable from the
// start, uncharged (MAP_NORESERVE), and the kernel fills a page with zeros at its first touch.
// There is no fault of ours and no growth event.
#include "strategies/always_committed.hpp"
#include "strategies/core_dumps.hpp"

namespace growstack {
namespace {

constexpr StrategyDescription demand_paging{
    .strategy = Strategy::demand_paging,
    .name = "demand_paging",
    .description = "a read-write mapping, filled by the kernel at first touch",
    .least_kernel = "5.9"};

class DemandPaging final : public AlwaysCommitted {
 public:
  constexpr DemandPaging() noexcept : AlwaysCommitted(demand_paging) {}

  [[nodiscard]] int open(const Bounds& bounds, const Layout& layout,
                         const StackOptions&) const noexcept override {
    return commit_in_pieces(bounds, bounds.floor, vm::Pages::small, layout.core_depth);
  }
};

constinit const DemandPaging instance;

}  // namespace

template <>
const Implementation& implementation_of<Strategy::demand_paging>() noexcept {
  return instance;
}

}  // namespace growstack
