// Memory for what is ours and not a stack: records, and the stacks of service threads.
#pragma once

#include <cstddef>

namespace growstack::handler {

/// Maps zeroed memory of which a page becomes resident when it is touched, also in a program that
/// called mlockall(2) with MCL_FUTURE. The `guard` lowest bytes of it may not be touched. Both
/// sizes are whole pages. Returns null with errno if there is no memory.
[[nodiscard]] void* map_own_memory(std::size_t bytes, std::size_t guard = 0) noexcept;

/// Unmaps memory of map_own_memory(). What a filter does not let us unmap is at least neither
/// resident nor charged any more. Keeps errno.
void unmap_own_memory(void* memory, std::size_t bytes) noexcept;

}  // namespace growstack::handler
