// Standard error, as those write to it who may not wait for it.
#pragma once

#include <string_view>

namespace growstack::handler {

/// Writes a text to standard error. Returns false if standard error does not take all of it within
/// a second, because a pipe that nobody empties must not keep a process from dying, nor a terminal
/// that somebody has stopped. Uses bare system calls, because those of libc act on a cancellation
/// that the thread has pending. Signal handlers included.
[[nodiscard]] bool write_to_standard_error(std::string_view text) noexcept;

}  // namespace growstack::handler
