// Features that older kernels do not have, or that containers forbid. Each is refused with the same
// error as there.
#pragma once

#include "support/injected_error.hpp"

#include <linux/ioctl.h>

#include <cerrno>

namespace growstack::testing {

/// Refuses MADV_GUARD_INSTALL and MADV_GUARD_REMOVE, as before Linux 6.13.
inline void without_guard_markers(InjectedError& injected) {
  for (const std::uint32_t advice : {102U, 103U}) {
    injected.refuse_argument(SYS_madvise, 2, advice, EINVAL);
  }
}

/// Refuses userfaultfd as the filter of a container does. A filter cannot see paths, so the ioctl
/// of /dev/userfaultfd is refused (USERFAULTFD_IOC_NEW).
inline void without_userfaultfd(InjectedError& injected) {
  injected.refuse(SYS_userfaultfd, EPERM);
  injected.refuse_argument(SYS_ioctl, 1, _IO(0xAA, 0x00), EPERM);
}

/// Refuses to lock memory, as before Linux 4.4 or in a container that forbids it.
inline void without_locked_memory(InjectedError& injected) {
  injected.refuse(SYS_mlock2, EPERM);
  injected.refuse(SYS_mlock, EPERM);
}

/// Refuses MADV_HUGEPAGE, as a kernel without transparent huge pages.
inline void without_huge_pages(InjectedError& injected) {
  injected.refuse_argument(SYS_madvise, 2, 14U, EINVAL);
}

/// Refuses PAGEMAP_SCAN, as before Linux 6.7.
inline void without_pagemap_scan(InjectedError& injected) {
  // _IOWR('f', 16, struct pm_scan_arg), which is younger than some headers
  injected.refuse_argument(SYS_ioctl, 1, _IOC(_IOC_READ | _IOC_WRITE, 'f', 16, 96), ENOTTY);
}

}  // namespace growstack::testing
