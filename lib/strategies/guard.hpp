// A guard in the page tables, for strategies whose slots are all one mapping.
#pragma once

#include "strategies/implementation.hpp"

namespace growstack {

/// Markers on the guard of a slot that is read-write from guard to base. They cost page tables, so
/// of a large guard only the part next to the stack has them, and the rest becomes PROT_NONE again,
/// which takes a mapping. 0 or an errno.
[[nodiscard]] int install_guard(const Bounds& bounds, vm::Pages pages) noexcept;

}  // namespace growstack
