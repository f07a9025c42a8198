// What our memory is called in /proc/self/maps.
#pragma once

#include <growstack/export.hpp>

#include <cstddef>
#include <cstdint>

namespace growstack::handler {

/// Has the kernel show the anonymous mappings of [begin, begin + size), page aligned, as
/// "[anon:<name>]" (PR_SET_VMA, Linux 5.17 with CONFIG_ANON_VMA_NAME). On other kernels this does
/// nothing, at the price of one system call in the life of the process. `name` has at most 79
/// bytes, without any of []\`$ or control characters. Keeps errno. Any thread, signal handlers
/// included.
///
/// The kernel joins only mappings of one name, so all memory of a kind that lies side by side has
/// the same name. Protection and advice may change under a name. Memory that is mapped anew over a
/// part must be named anew, or that part would stay a mapping apart.
GROWSTACK_EXPORT void name_memory(std::uintptr_t begin, std::size_t size,
                                  const char* name) noexcept;

/// The name of arenas, from end to end. The stacks of all strategies have the same name: if arenas
/// lie side by side, their guards are one mapping, and two names would make it two.
inline constexpr const char* stacks_name = "growstack stacks";
/// The name of an alternate signal stack, with its guard.
inline constexpr const char* signal_stack_name = "growstack signal stack";
/// The name of the stack of a service thread, with its guard.
inline constexpr const char* service_stack_name = "growstack service thread";
/// The name of records: of slots, ranges, pins, threads.
inline constexpr const char* records_name = "growstack records";
/// The name of the flat table.
inline constexpr const char* table_name = "growstack table";

}  // namespace growstack::handler
