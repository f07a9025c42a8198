// The calls of ioctl_userfaultfd(2) on an open userfaultfd: bare system calls, signal handlers
// included.
//
// Filling wakes nobody. A thread that waits for a page is woken when the limit says what is there.
#pragma once

#include <cstddef>
#include <cstdint>

namespace growstack::handler {

/// Has the kernel ask for missing pages of [begin, begin + size). Returns 0 or an errno.
[[nodiscard]] int register_missing(int userfault, std::uintptr_t begin, std::size_t size) noexcept;

/// Maps the kernel's page of zeros at [begin, begin + size). Returns how many bytes from `begin` on
/// are there now, by us or before; 0 with errno if none are.
[[nodiscard]] std::size_t map_page_of_zeros(int userfault, std::uintptr_t begin,
                                            std::size_t size) noexcept;

/// Fills [begin, begin + size) with a copy of the memory at `from`. Returns as map_page_of_zeros().
[[nodiscard]] std::size_t copy_to_missing(int userfault, std::uintptr_t begin, std::uintptr_t from,
                                          std::size_t size) noexcept;

/// Wakes the threads that wait for the page. Returns false, with errno, if that is refused.
bool wake_waiters(int userfault, std::uintptr_t page) noexcept;

}  // namespace growstack::handler
