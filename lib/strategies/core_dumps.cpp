#include "strategies/core_dumps.hpp"

#include "memory/vm.hpp"

#include <algorithm>

namespace growstack {

void split_for_core_dumps(const Bounds& bounds) noexcept {
  constexpr std::size_t ratio = 16;
  const std::size_t reserve = bounds.base - bounds.floor;
  bool apart = true;
  for (std::size_t above = largest_in_one_piece; above < reserve; above *= ratio, apart = !apart) {
    const std::size_t below = std::min(reserve, above * ratio);
    if (apart && vm::set_apart(bounds.base - below, below - above) != 0) {
      return;  // no mappings are left; only the size of a core dump suffers
    }
  }
  if (reserve > largest_in_one_piece) {
    // Its markers would count as written.
    static_cast<void>(vm::leave_out_of_core(bounds.guard, bounds.floor - bounds.guard));
  }
}

}  // namespace growstack
