// A guard in the page tables, for strategies whose slots are all one mapping.
#pragma once

#include "memory/vm.hpp"
#include "strategies/layout.hpp"

namespace growstack {

/// Installs markers on the guard of a slot that is read-write from guard to base. Markers cost page
/// tables; so in a large guard only the 4 MiB next to the stack get them, and the rest becomes
/// PROT_NONE again, which costs a mapping. Returns 0 or an errno.
[[nodiscard]] int install_guard(const Bounds& bounds, vm::Pages pages) noexcept;

}  // namespace growstack
