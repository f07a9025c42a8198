// userfaultfd(2): memory whose missing pages the kernel asks us for, instead of filling them with
// zeros.
//
// The kernel asks in one of two ways, each with a descriptor of its own. With `signal`, the touch
// raises SIGBUS, and the fault handler fills; anyone may have that. With `monitor`, the touch makes
// the thread wait, and our monitor thread fills. No signal is raised then, and faults inside system
// calls are served too, which takes a privilege.
//
// A thread of ours keeps each descriptor in a table of its own. So if a program closes descriptors
// that it does not know, the kernel does not forget whose memory this is. A forked child has no
// userfaultfd until it makes one. It makes one of the kind `signal` by itself, before fork(2)
// returns, but not after a bare clone or _Fork(3). The kernel fills memory of the kind `monitor`
// there.
#pragma once

#include <growstack/export.hpp>

#include <cstddef>
#include <cstdint>

namespace growstack::handler {

/// Names the way in which the kernel asks for a missing page.
enum class UserfaultKind : std::uint8_t {
  signal,   ///< the touch raises SIGBUS
  monitor,  ///< the touch waits for our monitor thread
};

/// Opens the userfaultfd of a kind and starts its thread, unless that is done. After install(); any
/// thread, not from a signal handler. Returns 0 or an errno: EPERM (vm.unprivileged_userfaultfd is
/// 0, or a seccomp filter forbids it), ENOSYS, EINVAL (no UFFD_FEATURE_SIGBUS: Linux before 4.14),
/// or of pthread_create(3), close_range(2). Sets `is_refused` to true if the kernel does not give
/// us a userfaultfd, as opposed to a lack of memory, descriptors or threads.
[[nodiscard]] GROWSTACK_EXPORT int start_userfault(UserfaultKind kind, bool& is_refused) noexcept;

/// Has the kernel ask for missing pages of [begin, begin + size), which is private anonymous
/// memory. Unmapping it ends that. Any thread, not from a signal handler. Returns 0 or an errno of
/// ioctl_userfaultfd(2).
[[nodiscard]] GROWSTACK_EXPORT int watch_missing_pages(UserfaultKind kind, std::uintptr_t begin,
                                                       std::size_t size) noexcept;

/// Forgets memory that is about to be unmapped, so that a forked child does not watch it. Any
/// thread, not from a signal handler.
GROWSTACK_EXPORT void forget_missing_pages(std::uintptr_t begin, std::size_t size) noexcept;

/// Names what missing pages are filled with.
enum class Filling : std::uint8_t {
  page_of_zeros,  ///< the kernel's page: it costs no memory, but the first write to it costs a page
                  ///< fault in the kernel
  memory,         ///< memory of the process: it costs memory, and no fault any more
};

/// Fills the pages of [begin, end) that are missing. If the program closed our descriptor, opens
/// another one for the time of this call. Any thread, signal handlers included. Returns 0 or an
/// errno: ENOENT if nobody watches, which in a forked child means that the kernel fills; EBADF if
/// the program closed the descriptor, and no other can be opened.
[[nodiscard]] GROWSTACK_EXPORT int fill_missing_pages(UserfaultKind kind, Filling with,
                                                      std::uintptr_t begin,
                                                      std::uintptr_t end) noexcept;

/// Returns whether the monitor gets to see faults inside system calls as well. Any thread, after
/// start_userfault().
[[nodiscard]] GROWSTACK_EXPORT bool serves_system_calls() noexcept;

}  // namespace growstack::handler
