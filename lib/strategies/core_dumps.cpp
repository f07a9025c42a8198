#include "strategies/core_dumps.hpp"

#include "memory/vm.hpp"

#include <algorithm>

namespace growstack {
namespace {

/// Splits memory that is Reserved: once it may be touched, the kernel would join it with the used
/// part of the stack below, and then each piece of it counts as written to.
void split(const Bounds& bounds, std::uintptr_t begin, std::size_t core_depth) noexcept {
  constexpr std::size_t ratio = 64;
  const std::size_t reserve = bounds.base - bounds.floor;
  bool apart = false;
  for (std::size_t above = core_depth; above < reserve; above *= ratio) {
    const std::size_t below = std::min(reserve, above * ratio);
    apart = !apart;
    if (apart && vm::set_apart(bounds.base - below, below - above) != 0) {
      return;  // no mappings are left; only the size of a core dump suffers
    }
  }
  if (!apart && reserve > core_depth && begin < bounds.floor) {
    // Its markers count as written, and so would the lowest piece.
    static_cast<void>(vm::leave_out_of_core(begin, bounds.floor - begin));
  }
}

}  // namespace

int commit_in_pieces(const Bounds& bounds, std::uintptr_t begin, vm::Pages pages,
                     std::size_t core_depth) noexcept {
  const std::size_t size = bounds.base - begin;
  int error = vm::reserve_uncharged(begin, size, pages);
  if (error != 0) {
    return error;
  }
  split(bounds, begin, core_depth);
  error = vm::commit(begin, size);
  if (error != 0) {
    static_cast<void>(vm::decommit(begin, size, pages));
  }
  return error;
}

}  // namespace growstack
