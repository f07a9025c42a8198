// What becomes of a failed system call: an exception that names the call.
#pragma once

#include <cerrno>
#include <system_error>

namespace growstack::bench {

/// Throws std::system_error with an error number and the name of the call that failed.
[[noreturn]] inline void throw_error(const char* call, int error = errno) {
  throw std::system_error(error, std::generic_category(), call);
}

/// Throws as throw_error does if a condition does not hold; errno has the error number.
inline void require(bool holds, const char* call) {
  if (!holds) {
    throw_error(call);
  }
}

/// Throws as throw_error does unless `error` is 0. For functions that return their error number, as
/// those of pthreads do.
inline void require_no_error(int error, const char* call) {
  if (error != 0) {
    throw_error(call, error);
  }
}

}  // namespace growstack::bench
