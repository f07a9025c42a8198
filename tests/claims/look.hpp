// Ways to look at memory, each a few lines around one thing that the kernel says.
#pragma once

#include "support/smaps.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace growstack::testing {

/// Bytes.
[[nodiscard]] std::size_t page_bytes();

/// The mapping that holds the address (/proc/self/smaps). Throws if there is none.
[[nodiscard]] Mapping mapping_of(const void* address);

/// Bytes of [begin, begin + size) that are in physical memory: present in /proc/self/pagemap, which
/// says so of the shared page of zeros, too.
[[nodiscard]] std::size_t resident_bytes(const void* begin, std::size_t size);

/// For each page of [begin, begin + size) what mincore(2) says. Throws std::system_error if it
/// fails: ENOMEM for addresses that are not mapped.
[[nodiscard]] std::vector<bool> mincore_pages(const void* begin, std::size_t size);

/// Page faults of the calling thread that needed no disk (getrusage(2), ru_minflt), so far.
[[nodiscard]] std::size_t minor_faults();

/// Resident memory of the process (VmRSS) and its page tables (VmPTE), in bytes.
[[nodiscard]] std::size_t process_resident_bytes();
[[nodiscard]] std::size_t page_table_bytes();

/// Anonymous, private, readable and writable memory. Throws std::system_error.
[[nodiscard]] char* map_memory(std::size_t size, int further_flags = 0);

/// Writes one byte to each page, from high to low addresses as a stack does.
void touch_each_page(void* begin, std::size_t size);

}  // namespace growstack::testing
