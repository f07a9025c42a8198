// What the kernel says about the memory of this process as a whole.
#pragma once

#include <cstddef>
#include <string>

namespace growstack::compare {

/// The value of a line "VmPTE:  123 kB" of /proc/self/status, in bytes. Throws std::runtime_error
/// if there is none.
[[nodiscard]] std::size_t status_bytes(const std::string& name);

/// Resident, page tables included: what each page in use costs besides itself.
[[nodiscard]] std::size_t resident_with_tables();

/// Lines of /proc/self/maps.
[[nodiscard]] std::size_t mapping_count();

/// What one measurement may have in memory: half of what is available now, for others use the
/// machine, too.
[[nodiscard]] std::size_t allowed_memory();

/// How many stacks of that depth have room in it: as many as are wanted, or fewer.
[[nodiscard]] std::size_t affordable(std::size_t stacks, std::size_t depth);

}  // namespace growstack::compare
