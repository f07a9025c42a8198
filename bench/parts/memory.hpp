// Prepares the machine's memory: without that, a measurement means nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace growstack::bench {

enum class Pages { single, huge };

/// Touches that much memory page by page and frees it. The kernel uses first what was just freed,
/// so its lists of free pages are in the same state for everybody who comes next. Those who come
/// next and use huge pages need huge ones here.
void touch_and_free(std::size_t bytes, Pages pages = Pages::single);

/// Touches and frees memory as touch_and_free does, at most half of what is available. Call it once
/// before everything: in a virtual machine the first touch of memory that was not used for a while
/// makes the host work, too, and costs ten times as much as a page fault.
void warm_memory(std::size_t bytes, Pages pages = Pages::single);

/// Returns the value of a line "Name:  123 kB" of /proc/meminfo in bytes; 0 if there is none.
[[nodiscard]] std::uint64_t meminfo_bytes(std::string_view name);

/// Returns when the kernel uses huge pages by itself: "always", "madvise" or "never"; "none" if it
/// has none.
[[nodiscard]] std::string huge_pages();

/// Raises this process's soft RLIMIT_STACK to `bytes`, or to the hard limit if that is less; never
/// lowers it. The kernel reads it when a MAP_GROWSDOWN mapping grows. Throws std::system_error.
void raise_stack_limit(std::uint64_t bytes);

/// Raises this process's soft RLIMIT_MEMLOCK to the hard one. Throws std::system_error.
void raise_lock_limit();

}  // namespace growstack::bench
