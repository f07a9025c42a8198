// A neighbour is a program in the same folder as this one. It measures what cannot be linked into
// this executable. It gets one argument, a request in JSON, and writes {"result": ...} or
// {"failure": "..."} to standard output.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace growstack::bench {

/// Returns whether there is a neighbour of that name.
[[nodiscard]] bool has_neighbour(const std::string& name);

/// Replaces this process by the neighbour. Throws std::system_error if it cannot be started.
[[noreturn]] void become_neighbour(const std::string& name, const nlohmann::json& request);

/// Answers the request in the argument. This is all that the main() of a neighbour does.
[[nodiscard]] int serve_as_neighbour(int argc, char** argv,
                                     nlohmann::json (*answer)(const nlohmann::json& request));

}  // namespace growstack::bench
