// A guard in the page tables, for strategies whose slots are all one mapping.
#pragma once

#include "memory/vm.hpp"
#include "strategies/layout.hpp"

namespace growstack {

/// The largest guard in bytes that consists of markers alone.
inline constexpr std::size_t largest_marked_guard = std::size_t{4} << 20;

/// Returns true if nothing but markers makes slots of a row usable: their guards are not too large,
/// and core dumps need no further mappings.
[[nodiscard]] bool are_markers_all(const Layout& layout) noexcept;

/// Installs markers on the guard of a slot that is read-write from guard to base. Markers cost page
/// tables; so in a large guard only the 4 MiB next to the stack get them, and the rest becomes
/// PROT_NONE again, which costs a mapping. Returns 0 or an errno.
[[nodiscard]] int install_guard(const Bounds& bounds, vm::Pages pages) noexcept;

}  // namespace growstack
