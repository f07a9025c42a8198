// Ways to look at memory. Each is a few lines around one thing that the kernel or the C library
// says.
#pragma once

#include "support/smaps.hpp"

#include <pthread.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace growstack::testing {

/// Returns the size of a page.
[[nodiscard]] std::size_t page_bytes();

/// Returns the mapping that has the address in it (/proc/self/smaps). Throws if there is none.
[[nodiscard]] Mapping mapping_of(const void* address);

/// Returns how many bytes of [begin, begin + size) are in physical memory: present in
/// /proc/self/pagemap, which also calls the shared page of zeros present.
[[nodiscard]] std::size_t resident_bytes(const void* begin, std::size_t size);

/// Returns what mincore(2) says of each page of [begin, begin + size). Throws std::system_error if
/// it fails: ENOMEM for addresses that are not mapped.
[[nodiscard]] std::vector<bool> mincore_pages(const void* begin, std::size_t size);

/// Returns how many page faults of the calling thread needed no disk, so far (getrusage(2),
/// ru_minflt).
[[nodiscard]] std::size_t minor_faults();

/// Return the resident memory of the process (VmRSS) and its page tables (VmPTE), in bytes.
[[nodiscard]] std::size_t process_resident_bytes();
[[nodiscard]] std::size_t page_table_bytes();

/// Maps anonymous, private memory that can be read and written. Throws std::system_error.
[[nodiscard]] char* map_memory(std::size_t size, int further_flags = 0);

/// Writes one byte to each page, from high to low addresses as a stack does.
void touch_each_page(void* begin, std::size_t size);

/// The place of a thread's stack, without its guard. Stacks grow downwards: a thread begins near
/// `end`.
struct StackPlace {
  char* begin = nullptr;
  char* end = nullptr;

  [[nodiscard]] std::size_t size() const { return static_cast<std::size_t>(end - begin); }
  [[nodiscard]] bool contains(const void* address) const;
};

/// Returns the place of a thread's stack, as the C library knows it. Throws std::system_error.
[[nodiscard]] StackPlace stack_of(pthread_t thread);

/// Returns the place of the calling thread's own stack, as the C library knows it.
[[nodiscard]] StackPlace running_stack();

}  // namespace growstack::testing
