// What the machine's memory must be like before a measurement means anything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace growstack::bench {

enum class Pages { single, huge };

/// Touches that much memory page by page and frees it: what was just freed is used again first, and
/// the kernel's lists of free pages are in the same state for everybody who comes next. Single
/// pages, unless those who come next take huge ones.
void touch_and_free(std::size_t bytes, Pages pages = Pages::single);

/// The same once before everything, with at most half of the memory available. In a virtual machine
/// the first touch of memory that idled costs the host's work too, ten times a page fault.
void warm_memory(std::size_t bytes, Pages pages = Pages::single);

/// The value of a line "Name:  123 kB" of /proc/meminfo, in bytes; 0 when it is not there.
[[nodiscard]] std::uint64_t meminfo_bytes(std::string_view name);

/// Raises this process's soft RLIMIT_STACK to `bytes`, or to the hard limit if that is less; never
/// lowers it. The kernel reads it when a MAP_GROWSDOWN mapping grows. Throws std::system_error.
void raise_stack_limit(std::uint64_t bytes);

/// Raises this process's soft RLIMIT_MEMLOCK to the hard one. Throws std::system_error.
void raise_lock_limit();

}  // namespace growstack::bench
