// Makes system calls fail, as an older kernel or a container might refuse them.
#pragma once

#include "support/system_call_filter.hpp"

#include <sys/syscall.h>

#include <cstdint>
#include <functional>
#include <thread>

namespace growstack::testing {

/// What is refused stays refused for the thread that says so, and for what it makes afterwards.
/// in_a_thread() gives the body a thread of its own, so that the process goes on without.
class InjectedError {
 public:
  static void in_a_thread(const std::function<void(InjectedError&)>& body) {
    std::thread([&] {
      InjectedError injected;
      body(injected);
    }).join();
  }

  /// Refuses to the calling thread and to all that it makes from now on.
  static InjectedError for_good() { return {}; }

  /// Makes the system call fail with `error` from now on.
  void refuse(long system_call, int error) {
    SystemCallFilter filter;
    filter.add(SCMP_ACT_ERRNO(static_cast<unsigned>(error)), system_call);
    filter.install();
  }

  /// Makes the system call fail with `error` from now on if its argument of that index (from 0), of
  /// which the kernel reads 32 bits, is `value`.
  void refuse_argument(long system_call, unsigned index, std::uint32_t value, int error) {
    SystemCallFilter filter;
    filter.add(SCMP_ACT_ERRNO(static_cast<unsigned>(error)), system_call,
               {argument_is(index, value)});
    filter.install();
  }

  /// Makes every system call kill the process from now on, except the one that ends it.
  void forbid_all() {
    // It stays for ever, because to free memory can be a system call.
    auto* const filter = new SystemCallFilter(SCMP_ACT_KILL_PROCESS);
    filter->add(SCMP_ACT_ALLOW, SYS_exit_group);
    filter->install();
  }

 private:
  InjectedError() = default;
};

}  // namespace growstack::testing
