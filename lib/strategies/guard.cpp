#include "strategies/guard.hpp"

namespace growstack {

int install_guard(const Bounds& bounds, vm::Pages pages) noexcept {
  constexpr std::size_t most_marked = std::size_t{4} << 20;
  std::uintptr_t begin = bounds.guard;
  if (bounds.floor - begin > most_marked) {
    begin = bounds.floor - most_marked;
    if (const int error = vm::decommit(bounds.guard, begin - bounds.guard, pages); error != 0) {
      return error;
    }
  }
  return vm::install_markers(begin, bounds.floor - begin);
}

}  // namespace growstack
