// What kernels do not have, or containers do not allow: each refusal answers as they do.
#pragma once

#include "support/injected_error.hpp"

#include <linux/ioctl.h>

#include <cerrno>

namespace growstack::testing {

/// Before Linux 6.13: MADV_GUARD_INSTALL and MADV_GUARD_REMOVE.
inline void without_guard_markers(InjectedError& injected) {
  for (const std::uint32_t advice : {102U, 103U}) {
    injected.refuse_argument(SYS_madvise, 2, advice, EINVAL);
  }
}

/// As a container's filter does it. The ioctl is that of /dev/userfaultfd (USERFAULTFD_IOC_NEW): a
/// filter cannot see paths.
inline void without_userfaultfd(InjectedError& injected) {
  injected.refuse(SYS_userfaultfd, EPERM);
  injected.refuse_argument(SYS_ioctl, 1, _IO(0xAA, 0x00), EPERM);
}

/// Before Linux 4.4, or where a container forbids it.
inline void without_locked_memory(InjectedError& injected) {
  injected.refuse(SYS_mlock2, EPERM);
  injected.refuse(SYS_mlock, EPERM);
}

/// A kernel configured without transparent huge pages: MADV_HUGEPAGE.
inline void without_huge_pages(InjectedError& injected) {
  injected.refuse_argument(SYS_madvise, 2, 14U, EINVAL);
}

/// Before Linux 6.7: PAGEMAP_SCAN.
inline void without_pagemap_scan(InjectedError& injected) {
  // _IOWR('f', 16, struct pm_scan_arg), which is younger than some headers
  injected.refuse_argument(SYS_ioctl, 1, _IOC(_IOC_READ | _IOC_WRITE, 'f', 16, 96), ENOTTY);
}

}  // namespace growstack::testing
