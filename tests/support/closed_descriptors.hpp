// A program that closes descriptors that it does not know, those of our userfaultfds among them.
#pragma once

#include <growstack/growstack.hpp>
#include <growstack/stack_pool.hpp>

#include "support/descend.hpp"
#include "support/smaps.hpp"
#include "support/units.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <vector>

namespace growstack::testing {

/// Closes all descriptors that are no standard streams, and opens as many userfaultfds of the
/// program's own, so that one has the number that was ours. Empty if it may have none.
inline std::vector<int> replace_descriptors_by_userfaults() {
  const std::size_t count = descriptor_count();
  close_range(3, ~0U, 0);
  std::vector<int> theirs;
  while (theirs.size() < count) {
    constexpr int user_mode_only = 1;  // needs no privilege
    const auto userfault =
        static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | user_mode_only));
    uffdio_api api{};
    api.api = UFFD_API;
    if (userfault < 0 || ioctl(userfault, UFFDIO_API, &api) != 0) {
      return {};
    }
    theirs.push_back(userfault);
  }
  return theirs;
}

/// Makes many stacks of a pool after the program has closed all descriptors, and perhaps has
/// userfaultfds of its own where ours was. Returns the exit code of a scenario: 7 if all stacks
/// grow and nobody asks the program's userfaultfds for a page; 8 if the program may have none.
inline int more_stacks_of_a_pool(Strategy strategy, bool replaces) {
  StackPool pool({.reserve = MiB, .strategy = strategy});
  std::vector<Stack> stacks;
  stacks.push_back(pool.acquire());
  bool good = call(stacks.back(), [] { return descend(100 * KiB); }) == 0;
  std::vector<int> theirs;
  if (replaces) {
    theirs = replace_descriptors_by_userfaults();
    if (theirs.empty()) {
      return 8;
    }
  } else {
    close_range(3, ~0U, 0);
  }
  alarm(60);  // what another userfaultfd watches is never filled
  for (int count = 0; count < 64; ++count) {
    stacks.push_back(pool.acquire());
    good = call(stacks.back(), [] { return descend(500 * KiB); }) == 0 && good;
  }
  good = call(stacks.front(), [] { return descend(500 * KiB); }) == 0 && good;
  for (const int userfault : theirs) {
    uffd_msg message{};
    good = read(userfault, &message, sizeof message) == -1 && errno == EAGAIN && good;
  }
  return good ? 7 : 1;
}

}  // namespace growstack::testing
