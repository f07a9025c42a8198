// Calls and switches. The program bench/peers/keep_handler measures some of them, too.
#pragma once

#include "first/lines.hpp"

#include <growstack/options.hpp>

namespace growstack::compare {

/// Times growstack::call of an empty function, each time with the same options.
[[nodiscard]] Timing calls_with_options(const growstack::StackOptions& options);
/// Times growstack::call of an empty function on one stack of these options.
[[nodiscard]] Timing calls_on_stack(const growstack::StackOptions& options);
/// Times a switch of Boost.Context to a fiber that waits, and back.
[[nodiscard]] Timing switches();
/// Returns the lines of a process that has the component keep_handler.
[[nodiscard]] Lines kept_calls(const std::vector<std::string>& strategies);

}  // namespace growstack::compare
