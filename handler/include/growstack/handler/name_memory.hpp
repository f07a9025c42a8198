// What memory of ours is called in /proc/self/maps.
#pragma once

#include <cstddef>
#include <cstdint>

#pragma GCC visibility push(default)  // exported from a shared library

namespace growstack::handler {

/// Has the kernel show the anonymous mappings of [begin, begin + size), page aligned, as
/// "[anon:<name>]" (PR_SET_VMA, Linux 5.17 with CONFIG_ANON_VMA_NAME). Elsewhere nothing happens,
/// at the price of one system call in the life of the process. `name` has at most 79 bytes, without
/// any of []\`$ or control characters. errno is kept. Any thread, signal handlers included.
///
/// The kernel joins only mappings of one name. So all memory of a kind that lies side by side has
/// the same; protection and advice may change under it, but what is mapped anew over a part must be
/// named anew, or the part would stay a mapping apart.
void name_memory(std::uintptr_t begin, std::size_t size, const char* name) noexcept;

// The names. All stacks of all strategies have one: where arenas lie side by side their guards are
// one mapping, and two names would make it two.
inline constexpr const char* stacks_name = "growstack stacks";  ///< of arenas, from end to end
inline constexpr const char* signal_stack_name = "growstack signal stack";  ///< with its guard
inline constexpr const char* records_name =
    "growstack records";                                      ///< of slots, ranges, pins, threads
inline constexpr const char* table_name = "growstack table";  ///< the flat table

}  // namespace growstack::handler

#pragma GCC visibility pop
