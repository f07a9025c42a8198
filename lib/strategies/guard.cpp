#include "strategies/guard.hpp"

namespace growstack {

bool are_markers_all(const Layout& layout) noexcept {
  return layout.guard <= largest_marked_guard && layout.reserve <= layout.core_depth;
}

int install_guard(const Bounds& bounds, vm::Pages pages) noexcept {
  std::uintptr_t begin = bounds.guard;
  if (bounds.floor - begin > largest_marked_guard) {
    begin = bounds.floor - largest_marked_guard;
    if (const int error = vm::decommit(bounds.guard, begin - bounds.guard, pages); error != 0) {
      return error;
    }
  }
  return vm::install_markers(begin, bounds.floor - begin);
}

}  // namespace growstack
