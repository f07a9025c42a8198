// Where a stack lies in its slot, and where slots lie in their arena.
#pragma once

#include "memory/vm.hpp"

#include <growstack/options.hpp>

#include <cstddef>
#include <cstdint>

namespace growstack {

/// Where one stack lies: guard <= floor < base, page aligned.
struct Bounds {
  std::uintptr_t base = 0;
  std::uintptr_t floor = 0;
  std::uintptr_t guard = 0;
};

/// How slots lie in an arena. The arena begins at a multiple of 64 MiB, the first slot lies `first`
/// bytes above that, and the others follow without a gap. A stack lies at the upper end of its
/// slot, so that excess bytes of the slot lie below the guard. All sizes are in bytes.
struct Layout {
  std::size_t first = 0;
  std::size_t slot_size = 0;
  std::size_t reserve = 0;
  std::size_t guard = 0;
  /// The depth at which huge pages begin: base - huge_from is a multiple of their size. 0: small
  /// pages only.
  std::size_t huge_from = 0;
  /// guard_markers: the depth down to which each growth is an event.
  std::size_t window = 0;
  /// The depth down to which a stack is one mapping, and is in a core as a whole.
  std::size_t core_depth = 0;

  [[nodiscard]] vm::Pages pages() const noexcept {
    return huge_from == 0 ? vm::Pages::small : vm::Pages::huge_too;
  }
};

/// Returns where the stack lies that is `index` slots above another one.
[[nodiscard]] inline Bounds above(const Bounds& lowest, std::uint32_t index,
                                  const Layout& layout) noexcept {
  const std::size_t bytes = index * layout.slot_size;
  return {
      .base = lowest.base + bytes, .floor = lowest.floor + bytes, .guard = lowest.guard + bytes};
}

/// Returns the bytes from the guard of the lowest of `count` adjacent slots to the highest base.
[[nodiscard]] inline std::size_t row_size(const Bounds& lowest, std::uint32_t count,
                                          const Layout& layout) noexcept {
  return above(lowest, count - 1, layout).base - lowest.guard;
}

[[nodiscard]] inline Layout layout_with_small_pages(const StackOptions& options) noexcept {
  return {.first = 0,
          .slot_size = options.reserve + options.guard,
          .reserve = options.reserve,
          .guard = options.guard};
}

/// Smaller stacks get no huge pages: little of such a stack could be huge, and small stacks are
/// many, so that their address space counts.
inline constexpr std::size_t least_for_huge_pages = 2 * vm::huge_page;

/// Lays slots out for huge pages if the policy wants them and the stack is large enough. The depth
/// at which they begin is then at a multiple of their size.
[[nodiscard]] inline Layout layout_with_huge_pages(const StackOptions& options) noexcept {
  const std::size_t huge_from = options.policy.huge_from;
  if (huge_from == 0 || options.reserve < least_for_huge_pages) {
    return layout_with_small_pages(options);
  }
  return {.first = huge_from % vm::huge_page,
          .slot_size = vm::round_up(options.reserve + options.guard, vm::huge_page),
          .reserve = options.reserve,
          .guard = options.guard,
          .huge_from = huge_from};
}

}  // namespace growstack
