// errno, as the interrupted code or the caller left it.
#pragma once

#include <cerrno>

namespace growstack::handler {

/// Puts errno back at the end of its life.
class KeepErrno {
 public:
  KeepErrno() noexcept : kept_(errno) {}
  ~KeepErrno() { errno = kept_; }
  KeepErrno(const KeepErrno&) = delete;
  KeepErrno& operator=(const KeepErrno&) = delete;

 private:
  int kept_;
};

}  // namespace growstack::handler
