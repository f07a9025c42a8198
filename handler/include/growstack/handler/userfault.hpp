// userfaultfd(2): memory whose missing pages the kernel asks us for, instead of filling them with
// zeros.
//
// Two ways to be asked, each with a descriptor of its own. `signal`: the touch raises SIGBUS, and
// the fault handler fills; anyone may have that. `monitor`: the touch makes the thread wait, and
// our monitor thread fills; no signal is raised, and faults inside system calls are served too,
// which takes a privilege.
//
// A thread of ours keeps each descriptor in a table of its own: when a program closes descriptors
// that it does not know, the kernel must not forget whose memory this is. A forked child has no
// userfaultfd until it makes one: of the kind `signal` it does so by itself, before fork(2) returns
// (not after a bare clone, nor _Fork(3)); memory of the kind `monitor` is filled by the kernel
// there.
#pragma once

#include <cstddef>
#include <cstdint>

#pragma GCC visibility push(default)  // exported from a shared library

namespace growstack::handler {

/// How to be asked.
enum class UserfaultKind : std::uint8_t {
  signal,   ///< the touch raises SIGBUS
  monitor,  ///< the touch waits for our monitor thread
};

/// Opens it and starts its thread, unless that is done. After install(); any thread, not from a
/// signal handler. Returns 0 or an errno: EPERM (vm.unprivileged_userfaultfd is 0, or a seccomp
/// filter forbids it), ENOSYS, EINVAL (no UFFD_FEATURE_SIGBUS: Linux before 4.14), or of
/// pthread_create(3), close_range(2). `is_refused` tells the first from the rest: the kernel does
/// not give us a userfaultfd.
[[nodiscard]] int start_userfault(UserfaultKind kind, bool& is_refused) noexcept;

/// From now on missing pages of [begin, begin + size), which is private anonymous memory, are asked
/// for. Unmapping it ends that. Any thread, not from a signal handler. Returns 0 or an errno of
/// ioctl_userfaultfd(2).
[[nodiscard]] int watch_missing_pages(UserfaultKind kind, std::uintptr_t begin,
                                      std::size_t size) noexcept;

/// The range is about to be unmapped: a forked child shall not look for it.
void forget_missing_pages(std::uintptr_t begin, std::size_t size) noexcept;

/// The kernel's page of zeros costs no memory, and a page fault of the kernel's at the first write;
/// memory costs memory, and no fault any more.
enum class Filling : std::uint8_t {
  page_of_zeros,  ///< the kernel's, for reading; a write costs a page fault
  memory,         ///< of the process's own
};

/// Fills the pages of [begin, end) that are missing. Any thread, signal handlers included. Returns
/// 0 or an errno: ENOENT where nobody watches, which in a forked child means that the kernel fills;
/// EBADF or ENOTTY if the program closed the descriptor.
[[nodiscard]] int fill_missing_pages(UserfaultKind kind, Filling with, std::uintptr_t begin,
                                     std::uintptr_t end) noexcept;

/// Whether the monitor gets to see faults inside system calls, too. Any thread, after
/// start_userfault().
[[nodiscard]] bool serves_system_calls() noexcept;

}  // namespace growstack::handler

#pragma GCC visibility pop
