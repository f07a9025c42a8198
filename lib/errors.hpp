// Errors that name the limit that was hit and what to do about it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>

namespace growstack {

/// Throws std::system_error with `error` (an errno) and the message.
[[noreturn]] void fail(int error, const std::string& message);

/// Throws for memory that could not be had: an operation failed with `error` while `bytes` were
/// wanted. For ENOMEM and EAGAIN it looks up which limit was hit.
[[noreturn]] void fail_for_memory(int error, const std::string& what, std::size_t bytes);

/// The same where threads are started, too.
[[noreturn]] void fail_for_thread(int error, const std::string& what, std::size_t bytes);

/// What such an error says, without the name of the library before and the standard's word for the
/// errno after it.
[[nodiscard]] std::string reason_of(const std::system_error& error);

/// For interfaces that do not throw. Of the category of a default-constructed one, so that success
/// compares equal to it.
[[nodiscard]] inline std::error_code error_code(int error) noexcept {
  return {error, std::system_category()};
}

/// As "8 MiB", exact: the largest unit that divides it.
[[nodiscard]] std::string in_bytes(std::uint64_t bytes);

}  // namespace growstack
