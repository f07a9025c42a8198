// What the kernel says about the memory of this process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace growstack::compare {

/// Returns the value of a line "VmPTE:  123 kB" of /proc/self/status, in bytes. Throws
/// std::runtime_error if there is none.
[[nodiscard]] std::size_t status_bytes(const std::string& name);

/// Returns the resident bytes and those of the page tables: each page in use costs some of both.
[[nodiscard]] std::size_t resident_with_tables();

/// Returns the number of lines of /proc/self/maps.
[[nodiscard]] std::size_t mapping_count();

/// Returns the bytes that one measurement may have in memory: half of what is available now,
/// because others use the machine, too.
[[nodiscard]] std::size_t allowed_memory();

/// Returns how many stacks of that depth have room in the allowed memory; at most as many as are
/// wanted.
[[nodiscard]] std::size_t affordable(std::size_t stacks, std::size_t depth);

/// What a piece of address space has, in bytes.
struct Residency {
  std::uint64_t mapped = 0;    ///< address space, as in the column Kbytes of pmap(1)
  std::uint64_t resident = 0;  ///< pages in physical memory (RSS)
  std::uint64_t dirty = 0;     ///< those of them that were written to
  std::uint64_t charged = 0;   ///< what counts against the commit limit (VmFlags "ac")
};

/// Returns the sums over the mappings in [begin, end) (/proc/self/smaps). Of a mapping that reaches
/// beyond the range, only the part in the range counts as mapped and charged; but its resident and
/// dirty bytes are known of the whole mapping only. Throws std::runtime_error if there is no smaps.
[[nodiscard]] Residency residency(std::uintptr_t begin, std::uintptr_t end);

}  // namespace growstack::compare
