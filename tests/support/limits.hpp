// What the kernel lets this process do: resource limits and privileges. Of the two limits of a
// resource the soft one counts, and a process may move it up to the hard one.
#pragma once

#include <sys/resource.h>
#include <unistd.h>

namespace growstack::testing {

/// Returns both limits of a resource.
[[nodiscard]] inline rlimit limits_of(__rlimit_resource resource) {
  rlimit limits{};
  getrlimit(resource, &limits);
  return limits;
}

/// Sets the soft limit. Returns false if the hard limit is lower.
inline bool set_soft_limit(__rlimit_resource resource, rlim_t value) {
  const rlimit changed{.rlim_cur = value, .rlim_max = limits_of(resource).rlim_max};
  return setrlimit(resource, &changed) == 0;
}

/// Sets the soft limit as high as the hard one.
inline void raise_soft_limit(__rlimit_resource resource) {
  set_soft_limit(resource, limits_of(resource).rlim_max);
}

/// Sets both limits, so that nothing in this process can raise them again unless it is privileged.
/// Returns false if the hard limit is lower.
inline bool set_both_limits(__rlimit_resource resource, rlim_t value) {
  const rlimit changed{.rlim_cur = value, .rlim_max = value};
  return setrlimit(resource, &changed) == 0;
}

/// Sets the soft limit and restores it at the end of its life.
class SoftLimit {
 public:
  SoftLimit(__rlimit_resource resource, rlim_t value)
      : resource_(resource),
        before_(limits_of(resource).rlim_cur),
        is_set_(set_soft_limit(resource, value)) {}
  ~SoftLimit() { set_soft_limit(resource_, before_); }
  SoftLimit(const SoftLimit&) = delete;
  SoftLimit& operator=(const SoftLimit&) = delete;

  /// Tells whether the hard limit allowed it.
  [[nodiscard]] bool is_set() const { return is_set_; }

 private:
  __rlimit_resource resource_;
  rlim_t before_;
  bool is_set_;
};

/// Gives up every privilege if the process has any. Returns false if that is not possible.
inline bool become_nobody() {
  constexpr uid_t nobody = 65534;
  return geteuid() != 0 ||
         (setresgid(nobody, nobody, nobody) == 0 && setresuid(nobody, nobody, nobody) == 0);
}

}  // namespace growstack::testing
