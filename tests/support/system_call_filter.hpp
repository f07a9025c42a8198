// Filters on system calls: libseccomp composes the program that the kernel runs at each call.
#pragma once

#include <seccomp.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <initializer_list>

namespace growstack::testing {

/// Returns the condition that an argument (numbered from 0), of which the kernel reads 32 bits, is
/// `value`.
[[nodiscard]] inline scmp_arg_cmp argument_is(unsigned index, std::uint32_t value) {
  return {.arg = index, .op = SCMP_CMP_MASKED_EQ, .datum_a = UINT32_MAX, .datum_b = value};
}

/// The exit code of a process that cannot have a filter, because the kernel offers none.
inline constexpr int no_filters = 102;

/// A filter cannot be removed. It belongs to the thread that installs it and to what that thread
/// makes afterwards, threads and processes. Several filters add up: the strictest answer counts.
class SystemCallFilter {
 public:
  /// Begins a filter that answers calls without a rule by `otherwise` (SCMP_ACT_*).
  explicit SystemCallFilter(std::uint32_t otherwise = SCMP_ACT_ALLOW)
      : context_(seccomp_init(otherwise)) {
    // Calls by another ABI (of 32 bits, say) are nobody's concern here.
    check(context_ == nullptr ? -ENOMEM
                              : seccomp_attr_set(context_, SCMP_FLTATR_ACT_BADARCH, otherwise));
  }
  ~SystemCallFilter() { seccomp_release(context_); }
  SystemCallFilter(const SystemCallFilter&) = delete;
  SystemCallFilter& operator=(const SystemCallFilter&) = delete;

  /// Adds a rule: such a call, if all conditions on its arguments are true, is answered by
  /// `action`.
  void add(std::uint32_t action, long system_call,
           std::initializer_list<scmp_arg_cmp> conditions = {}) {
    check(seccomp_rule_add_exact_array(context_, action, static_cast<int>(system_call),
                                       static_cast<unsigned>(conditions.size()),
                                       conditions.begin()));
  }

  /// Installs the filter for the calling thread, or for all threads of the process. Ends the
  /// process with exit code `no_filters` where that is not possible.
  void install() { check(seccomp_load(context_)); }
  void install_for_all_threads() {
    check(seccomp_attr_set(context_, SCMP_FLTATR_CTL_TSYNC, 1));
    install();
  }

  /// Returns the descriptor at which a supervisor answers SCMP_ACT_NOTIFY, once the filter is
  /// installed. libseccomp keeps one such descriptor for a process.
  [[nodiscard]] int listener() const { return seccomp_notify_fd(context_); }

 private:
  static void check(int result) {
    if (result < 0) {
      std::fprintf(stderr, "no filter on system calls: error %d\n", -result);
      _exit(no_filters);
    }
  }

  scmp_filter_ctx context_;
};

}  // namespace growstack::testing
