// What a process has: mappings, descriptors, threads and children, as /proc tells.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace growstack::testing {

/// Counts what a leak would raise.
struct Census {
  std::size_t mappings = 0;  ///< private and anonymous, except malloc's heap and the main stack
  std::size_t mapped = 0;    ///< bytes of these
  std::size_t writable = 0;  ///< bytes of these that may be written to, so that they are charged
  std::size_t descriptors = 0;
  std::size_t threads = 0;
  std::size_t children = 0;
  std::string maps;  ///< one line for each mapping, for messages
};

/// Takes the census of a process.
[[nodiscard]] Census census_of(pid_t process);

/// Returns how many bytes of [begin, end) are in physical memory, except the kernel's page of
/// zeros; -1 if that cannot be told.
[[nodiscard]] std::int64_t resident_bytes(pid_t process, std::uintptr_t begin, std::uintptr_t end);

/// Says what the one process has more than the other. Empty: nothing.
[[nodiscard]] std::string excess(const Census& over, const Census& usual);

}  // namespace growstack::testing
