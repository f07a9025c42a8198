// Which pages have physical memory now. For observers: these functions take time in proportion to
// what is there, open a file, and are not for signal handlers.
//
// PAGEMAP_SCAN (Linux 6.7) is asked first. It leaves out the zero page, which costs no memory, and
// skips empty memory at once. On older kernels mincore(2) tells which pages are there, and
// /proc/self/pagemap which of them nobody shares. A shared page is the zero page, or one that a
// forked child has too: if it has only zeros, it counts as the zero page. So a page that a program
// filled with zeros before a fork is missing from the sum until one of the two writes to it. Where
// /proc is not mounted, mincore(2) is asked alone, which counts the zero page like any other page.
#pragma once

#include <cstddef>
#include <cstdint>

namespace growstack {

/// Returns how many bytes of [begin, begin + size) have a physical page. Both are page aligned.
/// Memory that is not mapped has none.
[[nodiscard]] std::size_t resident(std::uintptr_t begin, std::size_t size) noexcept;

/// Returns the lowest page of [begin, begin + size) that has a physical page, or begin + size if
/// none has. Both are page aligned.
[[nodiscard]] std::uintptr_t lowest_resident(std::uintptr_t begin, std::size_t size) noexcept;

}  // namespace growstack
