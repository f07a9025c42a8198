// Errors whose messages name the limit that was hit, and the cure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>

namespace growstack {

/// Throws std::system_error with `error` (an errno) and the message.
[[noreturn]] void fail(int error, const std::string& message);

/// Throws std::system_error for an operation that wanted `bytes` bytes of memory and failed with
/// `error`. Names the call and the errno; for ENOMEM, EAGAIN and EMFILE looks up which limit was
/// hit.
[[noreturn]] void fail_for_memory(int error, const std::string& what, std::size_t bytes);

/// Throws std::system_error for an operation that also starts a thread; otherwise as
/// fail_for_memory() does. EAGAIN then means that there can be no more threads.
[[noreturn]] void fail_for_thread(int error, const std::string& what, std::size_t bytes);

/// Returns the name of an errno, such as "EPERM", or "errno 7".
[[nodiscard]] std::string name_of_errno(int error);

/// Returns the system call that has just failed in this thread with `error`, as far as that is
/// known, and the name of the errno, such as "madvise: EPERM".
[[nodiscard]] std::string refusal_of(int error);

/// Returns the message that these functions were given: without the name of the library before it,
/// and without the standard's words for the errno after it.
[[nodiscard]] std::string reason_of(const std::system_error& error);

/// Returns an errno as an error code, for functions that do not throw. It has the category of a
/// default-constructed error code, so that success compares equal to that.
[[nodiscard]] inline std::error_code error_code(int error) noexcept {
  return {error, std::system_category()};
}

/// Returns the errno for the public of an errno of handler::commit_ahead(): what a budget or a plan
/// refused is ENOMEM.
[[nodiscard]] int error_of_growth(int error) noexcept;

/// Returns a text such as "8 MiB". It is exact: the unit is the largest one that divides the
/// number.
[[nodiscard]] std::string in_bytes(std::uint64_t bytes);

}  // namespace growstack
