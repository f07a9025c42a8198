// demand_paging: what everybody does today. The whole stack is readable and writable from the start, uncharged
// (MAP_NORESERVE), and the kernel fills a page with zeros at its first touch. No fault of ours, no growth event.
#include "strategies/always_committed.hpp"

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

class DemandPaging final : public AlwaysCommitted {
 public:
  [[nodiscard]] const StrategyDescription& description() const noexcept override {
    static constexpr StrategyDescription text{Strategy::demand_paging, "demand_paging",
                                              "a read-write mapping, filled by the kernel at first touch", "5.9"};
    return text;
  }

  [[nodiscard]] int open(const Bounds& bounds, const StackOptions&, std::uintptr_t& limit) const noexcept override {
    limit = bounds.floor;
    const int error = vm::commit_uncharged(bounds.floor, bounds.base - bounds.floor);
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
