// Which pages have physical memory now. For observers: takes time in proportion to what is there,
// opens a file, and is not for signal handlers.
//
// PAGEMAP_SCAN (Linux 6.7) is asked first: it leaves out the zero page, which costs no memory, and
// skips what is empty at once. Before it, mincore(2) is: it counts the zero page as any other.
#pragma once

#include <cstddef>
#include <cstdint>

namespace growstack {

/// Bytes of [begin, begin + size), page aligned, that have a physical page; what is not mapped has
/// none.
[[nodiscard]] std::size_t resident(std::uintptr_t begin, std::size_t size) noexcept;

/// The lowest such page, or begin + size.
[[nodiscard]] std::uintptr_t lowest_resident(std::uintptr_t begin, std::size_t size) noexcept;

}  // namespace growstack
